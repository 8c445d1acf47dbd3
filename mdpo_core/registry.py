"""Discovery of plugins, and components by kind and name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from mdpo_core import components, corruption, hooks, terms
from mdpo_core.components import Component
from mdpo_core.errors import PluginError, suggestion

KINDS: dict[str, type[Component]] = {
    kind.kind: kind
    for kind in (
        components.ModelAdapter,
        components.Reader,
        corruption.Corruption,
        terms.Loss,
        terms.Anchor,
        components.Backend,
        components.Evaluator,
        components.Tracker,
    )
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Registry:
    """The plugins of a process and the components they offer."""

    def __init__(self) -> None:
        self.plugins = pluggy.PluginManager(hooks.PROJECT)
        self.plugins.add_hookspecs(hooks)
        self._components: dict[str, dict[str, type[Component]]] = {kind: {} for kind in KINDS}
        self._owner: dict[tuple[str, str], str] = {}

    @classmethod
    def discover(cls, without: Iterable[str] = ()) -> Registry:
        """Load the installed plugins (entry points of group ``mdpo``), one at a time, except those named."""
        registry = cls()
        points = sorted(entry_points(group=hooks.PROJECT), key=lambda point: point.name)
        names = {point.name for point in points}
        for name in without:
            if name not in names:
                raise PluginError(f"--without {name}: no such plugin{suggestion(name, names)}")
        points = [point for point in points if point.name not in without]
        _require_one_package_each(points)
        for point in points:
            registry.register(_load(point), point.name)
        return registry

    def register(self, plugin: object, name: str) -> None:
        """Add one plugin: its listeners, and its components if it offers any."""
        known = self.plugins.get_name(plugin)
        if known is not None:
            raise PluginError(f"plugins '{known}' and '{name}' are one module; leave one out: --without {name}")
        try:
            _require_marked(plugin)
            self.plugins.register(plugin, name)
            self.plugins.check_pending()
            offered = _offered(plugin)
        except Exception as error:
            raise _broken(name, error) from error
        for component_name, classes in offered.items():
            for cls in classes if isinstance(classes, tuple) else (classes,):
                self._add(component_name, cls, name)

    def _add(self, name: str, cls: type[Component], plugin: str) -> None:
        _require_component(name, cls, plugin)
        kind = cls.kind
        owner = self._owner.get((kind, name))
        if owner is not None:
            raise PluginError(
                f"plugins '{owner}' and '{plugin}' both offer the {kind} '{name}'; leave one out: "
                f"--without {owner} or --without {plugin}"
            )
        self._components[kind][name] = cls
        self._owner[kind, name] = plugin

    def components(self, kind: str) -> Mapping[str, type[Component]]:
        """The components of a kind, by name."""
        return self._components[kind]

    def owner(self, kind: str, name: str) -> str:
        """The plugin that offers a component."""
        return self._owner[kind, name]

    def get(self, kind: str, name: str) -> type[Component]:
        """The class of a component; `PluginError` names the nearest one if there is none of this name."""
        if kind not in KINDS:
            raise PluginError(f"unknown kind of component '{kind}'{suggestion(kind, KINDS)}")
        known = self._components[kind]
        if name not in known:
            raise PluginError(
                f"unknown {kind} '{name}'{suggestion(name, known)}  (known: {', '.join(sorted(known)) or 'none'})"
            )
        return known[name]

    def name_of(self, cls: type[Component]) -> str:
        """The name under which recipes find a component's class."""
        for name, known in self._components[cls.kind].items():
            if known is cls:
                return name
        raise PluginError(f"{cls.__name__} is offered by no plugin, so a recipe cannot name it")


def _require_one_package_each(points: Iterable[EntryPoint]) -> None:
    packages: dict[str, str] = {}
    for point in points:
        package = point.dist.name if point.dist else point.value
        first = packages.setdefault(point.name, package)
        if first != package:
            raise PluginError(
                f"the packages '{first}' and '{package}' both name their plugin '{point.name}'; uninstall one, or "
                f"leave out both: --without {point.name}"
            )


def _require_component(name: str, cls: type[Component], plugin: str) -> None:
    kind, hint = getattr(cls, "kind", None), _how_to_do_without(plugin)
    if not (isinstance(cls, type) and issubclass(cls, Component) and kind in KINDS):
        raise PluginError(f"plugin '{plugin}' offers '{name}' = {cls!r}, which is no class of a component kind{hint}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(f"plugin '{plugin}' offers the name {name!r}; a name is letters, digits, '_' and '-'{hint}")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"plugin '{plugin}' offers the {kind} '{name}', which does not implement: {missing}{hint}")


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    # Whatever a plugin's import raises, or if it ends the process: its user needs the plugin's name.
    except (Exception, SystemExit) as error:
        raise _broken(point.name, error) from error


def _require_marked(plugin: object) -> None:
    """A hook without its mark would never be called, and nobody would know."""
    for name in (name for name in vars(hooks) if name.startswith(f"{hooks.PROJECT}_")):
        if hasattr(plugin, name) and not hasattr(getattr(plugin, name), f"{hooks.PROJECT}_impl"):
            raise TypeError(f"{name} is no hook without @hookimpl above it")


def _offered(plugin: object) -> hooks.Components:
    offer = getattr(plugin, "mdpo_components", None)
    offered = offer() if offer else {}
    if not isinstance(offered, Mapping):
        raise TypeError(f"mdpo_components() returned {type(offered).__name__}, not a mapping of names to classes")
    return offered


def _broken(name: str, error: BaseException) -> PluginError:
    return PluginError(f"plugin '{name}' does not load: {type(error).__name__}: {error}{_how_to_do_without(name)}")


def _how_to_do_without(plugin: str) -> str:
    return f"; mend it, or leave it out: --without {plugin}"


_current: Registry | None = None


def current_registry() -> Registry:
    """The registry of this process, discovered when first asked for."""
    global _current
    if _current is None:
        _current = Registry.discover()
    return _current


def use_registry(registry: Registry) -> None:
    """Make ``registry`` the one of this process."""
    global _current
    _current = registry


def make_component(kind: str, name: str, **options: Any) -> Component:
    """A component by kind and name, as a recipe makes it: ``component("loss", "dpo", beta=0.1)``."""
    return current_registry().get(kind, name)(**options)
