"""Checks whether recipes can use what plugins, scripts and notebooks offer."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import pluggy

import mdpo_core.hooks as hooks
from mdpo_core.errors import PluginError, shown, suggestion
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.optimizer import Optimizer
from mdpo_core.interfaces.reader import Reader
from mdpo_core.interfaces.strengths.strength import Strength
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
        Optimizer,
        Evaluator,
        Tracker,
        Benchmark,
        Strength,
    )
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RULE = "a name consists of letters, digits, '_' and '-', and does not begin with a digit or '-'"
_HOOKS = tuple(name for name in vars(hooks) if name.startswith(f"{hooks.PROJECT}_"))
_MARK = f"{hooks.PROJECT}_impl"  # the attribute that `hookimpl` gives a function


def fault_among(offered: Iterable[tuple[object, Any]]) -> str | None:
    """The first component that recipes cannot use, and why; None if they can use all of them.

    The text continues a sentence such as "plugin 'x' offers".
    """
    seen = set()
    for name, cls in offered:
        fault = _fault_of(name, cls)
        if fault is not None:
            return fault
        if (cls.kind, name) in seen:
            return f"two classes as the {cls.kind} '{name}'; give one of them another name"
        seen.add((cls.kind, name))
    return None


def _fault_of(name: object, cls: Any) -> str | None:
    if isinstance(cls, Component):
        return f"'{name}', which is an instance of {type(cls).__name__}; give the class itself"
    if not (isinstance(cls, type) and issubclass(cls, Component) and getattr(cls, "kind", None) in KINDS):
        bases = ", ".join(kind.__name__ for kind in KINDS.values())
        return f"'{name}', which is {_described(cls)}; a component is a class derived from one of {bases}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"the name {name!r}; {_RULE}"
    if inspect.isabstract(cls):
        return f"the {cls.kind} '{name}', which does not implement: {', '.join(sorted(cls.__abstractmethods__))}"
    naming = ("loss", "anchor") if cls.kind in ("loss", "anchor") else (cls.kind,)  # keys beside its options
    clash = next((option for option in cls.model_fields if option in naming), None)
    if clash is not None:
        return f"the {cls.kind} '{name}' with the option '{clash}', a key that names the component; rename the option"
    return None


def require_name(name: object) -> None:
    """Raise `PluginError` if a name given to `register` is not valid."""
    if not isinstance(name, str):
        found = "found none" if name is None else f"found {_described(name)} instead"
        raise PluginError(
            'register needs the name that recipes will use: @register("mine") above a class, or '
            f'register("mine", Mine); {found}'
        )
    if not _NAME.fullmatch(name):
        raise PluginError(f"cannot register the name {name!r}; {_RULE}")


def _described(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else shown(thing)


def has_hooks(thing: object) -> bool:
    """Whether ``thing`` is a plugin: an object or a module with hooks, and not a component."""
    is_component = isinstance(thing, Component) or (isinstance(thing, type) and issubclass(thing, Component))
    return not is_component and (bool(_marked(thing)) or any(hasattr(thing, name) for name in _HOOKS))


def _marked(plugin: object) -> dict[str, str]:
    """The hooks that a plugin's marked attributes implement, by the attributes' names."""
    marks = {name: getattr(inspect.getattr_static(plugin, name, None), _MARK, None) for name in dir(plugin)}
    return {name: mark["specname"] or name for name, mark in marks.items() if mark is not None}


def offered_by(plugin: object, name: str) -> list[tuple[str, type[Component]]]:
    """The components of a plugin, by name.

    Raises `PluginError` if a hook of the plugin does not match `hooks`, and pluggy's ``PluginValidationError`` if
    pluggy would not register the plugin as ``name``.
    """
    _require_hooks(plugin)
    _try_to_register(plugin, name)
    offer = getattr(plugin, "mdpo_components", None)
    offered = offer() if offer else {}
    if not isinstance(offered, Mapping):
        raise PluginError(
            f"mdpo_components() must return a mapping from names to classes; it returned {shown(offered)}"
        )
    return [
        (name, cls)
        for name, classes in offered.items()
        for cls in (classes if isinstance(classes, tuple) else (classes,))
    ]


def _require_hooks(plugin: object) -> None:
    marked = _marked(plugin)
    for name in _HOOKS:
        # Pluggy would never call a hook without the mark, and would not say so.
        if hasattr(plugin, name) and name not in marked:
            raise PluginError(f"{name} needs @hookimpl above it to be a hook")
    for name, hook in marked.items():
        if hook not in _HOOKS:
            raise PluginError(f"mdpo has no hook '{hook}'{suggestion(hook, _HOOKS)}")
        known = list(inspect.signature(getattr(hooks, hook)).parameters)
        for argument in _required_arguments(getattr(plugin, name)):
            if argument not in known:
                raise PluginError(f"the hook {hook} has no argument '{argument}'; it has: {', '.join(known) or 'none'}")


def _try_to_register(plugin: object, name: str) -> None:
    """Register the plugin in an unused manager: a manager that refuses one hook may keep the plugin's other hooks."""
    plugins = plugin_manager()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pluggy warns of a deprecated hook once more when it is really registered
        plugins.register(plugin, name)
    plugins.check_pending()


def _required_arguments(function: Callable[..., object]) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty:
            yield name


def origin_of(thing: object) -> tuple[str, ...]:
    """Where a module, a class or the class of an object is defined: the module's name, then the qualified name."""
    if isinstance(thing, ModuleType):
        return (thing.__name__,)
    cls = thing if isinstance(thing, type) else type(thing)
    return (cls.__module__, cls.__qualname__)


def plugin_manager() -> pluggy.PluginManager:
    """A plugin manager that knows mdpo's hooks and has no plugin yet."""
    plugins = pluggy.PluginManager(hooks.PROJECT)
    plugins.add_hookspecs(hooks)
    return plugins
