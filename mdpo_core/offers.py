"""What plugins, scripts and notebooks offer: whether recipes could use it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import pluggy

from mdpo_core import hooks
from mdpo_core.errors import PluginError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.reader import Reader
from mdpo_core.interfaces.term import Anchor, Loss
from mdpo_core.interfaces.tracker import Tracker

KINDS: dict[str, type[Component]] = {
    kind.kind: kind
    for kind in (
        ModelAdapter,
        Reader,
        Corruption,
        Loss,
        Anchor,
        Backend,
        Evaluator,
        Tracker,
    )
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def fault_among(offered: Iterable[tuple[object, Any]]) -> str | None:
    """The first component that recipes could not use, and why; None if they can use all of them."""
    seen = set()
    for name, cls in offered:
        fault = _fault_of(name, cls)
        if fault is not None:
            return fault
        if (cls.kind, name) in seen:
            return f"two classes as the {cls.kind} '{name}'"
        seen.add((cls.kind, name))
    return None


def _fault_of(name: object, cls: Any) -> str | None:
    kind = getattr(cls, "kind", None)
    if isinstance(cls, Component):
        return f"'{name}' = {cls!r}, an instance; give its class, {type(cls).__name__}"
    if not (isinstance(cls, type) and issubclass(cls, Component) and kind in KINDS):
        return f"'{name}' = {cls!r}, which is not a class of a component kind"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"the name {name!r}; a name is letters, digits, '_' and '-'"
    if inspect.isabstract(cls):
        return f"the {kind} '{name}', which does not implement: {', '.join(sorted(cls.__abstractmethods__))}"
    return None


def require_name(name: object) -> None:
    """Raise `PluginError` if a name given to `register` is not a valid one."""
    if not isinstance(name, str):
        raise PluginError(
            "register needs the name that recipes will use: "
            f'@register("mine") above a class, or register("mine", Mine); found {name!r} in its place'
        )
    if not _NAME.fullmatch(name):
        raise PluginError(f"cannot register the name {name!r}; a name is letters, digits, '_' and '-'")


def _hook_names() -> Iterator[str]:
    return (name for name in vars(hooks) if name.startswith(f"{hooks.PROJECT}_"))


def has_hooks(thing: object) -> bool:
    """Whether it is a plugin, and not a component."""
    is_component = isinstance(thing, Component) or (isinstance(thing, type) and issubclass(thing, Component))
    return not is_component and any(hasattr(thing, name) for name in _hook_names())


def offered_by(plugin: object) -> list[tuple[str, type[Component]]]:
    """The components of a plugin; raises if it, or one of its hooks, is not what it should be."""
    # A hook without its mark would never be called, and nobody would know.
    for name in _hook_names():
        if hasattr(plugin, name) and not hasattr(getattr(plugin, name), f"{hooks.PROJECT}_impl"):
            raise TypeError(f"{name} needs @hookimpl above it to be a hook")
    trial = plugin_manager()
    trial.register(plugin)
    trial.check_pending()
    offer = getattr(plugin, "mdpo_components", None)
    offered = offer() if offer else {}
    if not isinstance(offered, Mapping):
        raise TypeError(f"mdpo_components() returned {type(offered).__name__}, not a mapping of names to classes")
    return [
        (name, cls)
        for name, classes in offered.items()
        for cls in (classes if isinstance(classes, tuple) else (classes,))
    ]


def origin_of(thing: object) -> tuple[str, ...]:
    """Where a class, or the class of an object, is written: module and qualified name."""
    if isinstance(thing, ModuleType):
        return (thing.__name__,)
    cls = thing if isinstance(thing, type) else type(thing)
    return (cls.__module__, cls.__qualname__)


def plugin_manager() -> pluggy.PluginManager:
    """One that knows our hooks and has no plugin yet."""
    plugins = pluggy.PluginManager(hooks.PROJECT)
    plugins.add_hookspecs(hooks)
    return plugins
