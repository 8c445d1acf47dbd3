"""Finds components by kind and name, from installed plugins and from scripts and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from mdpo_core.errors import PluginError, shown, suggestion, text_of
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.term import Term
from mdpo_core.processes.file_modules import FileModule, give
from mdpo_core.registry.installed import Installed, installed_plugins
from mdpo_core.registry.offers import KINDS, fault_among, has_hooks, offered_by, origin_of, plugin_manager, require_name
from mdpo_core.registry.required_version import require_version_for_package
from mdpo_core.remedies import either

_Thing = TypeVar("_Thing")
_MORE = "a plugin's are known once its package is installed, or its file is named under `plugins`"


@dataclass(frozen=True)
class _Offer:
    """A component class and its owner: a plugin, or the module of a class that was registered.

    ``installed``: a package or a plugin file offers it.
    """

    cls: type[Component]
    owner: str
    installed: bool


class Registry:
    """The plugins of a process and the components they offer."""

    def __init__(self) -> None:
        self.plugins = plugin_manager()
        self._offers: dict[tuple[str, str], _Offer] = {}
        self._added: dict[str, object] = {}  # registered plugins, by name
        self.files: dict[str, FileModule] = {}  # plugin files, by module

    @classmethod
    def discover(cls, without: Iterable[str] = ()) -> Registry:
        """Load the installed plugins (entry points of the group ``mdpo``), except those named in ``without``.

        Raises `PluginError` for the first plugin that does not load or offers something that recipes cannot use.
        """
        registry, installed = cls(), installed_plugins()
        names = {plugin.point.name for plugin in installed}
        for name in without:
            if name not in names:
                raise PluginError(
                    f"{either('--without', 'without')} {name}: this plugin is not installed{suggestion(name, names)}"
                )
        wanted = [plugin for plugin in installed if plugin.point.name not in without]
        _require_one_package_each(wanted)
        with _discovering():
            for plugin in wanted:
                registry.register(_load(plugin), plugin.point.name)
        return registry

    def register(self, plugin: object, name: str) -> None:
        """Add an installed plugin: its listeners and its components.

        Raises `PluginError`, and adds nothing, if it is not valid or offers a component that another plugin offers.
        """
        known = self.plugins.get_name(plugin)
        if known is not None:
            raise PluginError(f"plugins '{known}' and '{name}' are the same module; {_leave_out(name)}")
        try:
            offered = offered_by(plugin, name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _broken(name, error) from error
        fault = fault_among(offered)
        if fault is not None:
            raise PluginError(f"plugin '{name}' offers {fault}{_way_out(name)}")
        for component_name, cls in offered:
            other = self._offers.get((cls.kind, component_name))
            if other is not None:
                raise PluginError(
                    f"plugins '{other.owner}' and '{name}' both offer the {cls.kind} '{component_name}'; "
                    f"{_leave_out(other.owner, name)}"
                )
        self.plugins.register(plugin, name)
        self._offer(offered, name, installed=True)

    def register_file(self, file: FileModule, module: object, offered: Iterable[tuple[str, type[Component]]]) -> None:
        """Add a plugin file with what it offers, in place of what it offered before.

        Raises `PluginError`, and adds nothing, if another plugin or class has one of the names.
        """
        name = file.path.name
        for component_name, cls in offered:
            other = self._offers.get((cls.kind, component_name))
            if other is not None and other.owner != name:
                raise PluginError(
                    f"the plugin file {file.path} offers the {cls.kind} '{component_name}', but '{other.owner}' offers "
                    "one of this name, too; choose another name"
                )
        before = self.plugins.get_plugin(name)
        if before is not None:
            self._forget(name, before)
        self.plugins.register(module, name)
        self._offer(offered, name, installed=True)
        self.files[file.module] = file

    def _forget(self, name: str, plugin: object) -> None:
        self.plugins.unregister(plugin)
        self._offers = {key: offer for key, offer in self._offers.items() if offer.owner != name}

    def add(self, name: str, thing: object) -> None:
        """Add a component class or a plugin to this process; see `mdpo_core.register`."""
        require_name(name)
        if has_hooks(thing):
            self._add_plugin(name, thing)
            return
        fault = fault_among([(name, thing)])
        if fault is not None:
            raise PluginError(f"cannot register {fault}")
        assert isinstance(thing, type)
        self._require_free([(name, thing)])
        self._offer([(name, thing)], thing.__module__, installed=False)

    def _add_plugin(self, name: str, plugin: object) -> None:
        known = self.plugins.get_name(plugin)
        if known not in (None, name):
            raise PluginError(f"cannot register the plugin '{name}': it is already registered as '{known}'")
        before = self.plugins.get_plugin(name)
        if before is not None and (name not in self._added or origin_of(before) != origin_of(plugin)):
            raise PluginError(f"cannot register the plugin '{name}': another plugin has this name; choose another")
        try:
            offered = offered_by(plugin, name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(f"cannot register the plugin '{name}': {_reason(error)}") from error
        fault = fault_among(offered)
        if fault is not None:
            raise PluginError(f"cannot register the plugin '{name}', because it offers {fault}")
        self._require_free(offered, name)
        if before is not None:
            self._forget(name, before)
        self.plugins.register(plugin, name)
        self._added[name] = plugin
        self._offer(offered, name, installed=False)

    def _require_free(self, offered: Iterable[tuple[str, type[Component]]], plugin: str | None = None) -> None:
        """Raise `PluginError` if another component has one of these names.

        A class may replace one with the same module and qualified name: a notebook's cell ran again.
        """
        for name, cls in offered:
            offer = self._offers.get((cls.kind, name))
            if offer is None or _may_replace(offer, cls, plugin):
                continue
            owner = f"plugin '{offer.owner}'" if offer.installed else f"class {'.'.join(origin_of(offer.cls))}"
            raise PluginError(f"cannot register the {cls.kind} '{name}': the {owner} has this name; choose another")

    def _offer(self, offered: Iterable[tuple[str, type[Component]]], owner: str, installed: bool) -> None:
        for name, cls in offered:
            self._offers[cls.kind, name] = _Offer(cls, owner, installed)
            cls.set_component_name(name)

    def components(self, kind: str) -> Mapping[str, type[Component]]:
        """The components of a kind, such as ``loss``, by name."""
        return {name: offer.cls for (offered, name), offer in self._offers.items() if offered == kind}

    def registered(self) -> Mapping[tuple[str, str], type[Component]]:
        """The classes that no plugin offers, installed or file, by kind and name."""
        return {key: offer.cls for key, offer in self._offers.items() if not offer.installed}

    def owner(self, kind: str, name: str) -> str:
        """The plugin that offers a component, or the module of a registered class. `KeyError` if there is none."""
        return self._offers[kind, name].owner

    def get(self, kind: str, name: str) -> type[Component]:
        """The class of a component. Raises `PluginError` for an unknown kind or name; it suggests the nearest one."""
        if kind not in KINDS:
            raise PluginError(f"unknown kind of component '{kind}'{suggestion(kind, KINDS)}")
        known = self.components(kind)
        if not isinstance(name, str):
            raise PluginError(f"the name of a component is text, not {shown(name)}")
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise PluginError(f"unknown {kind} '{name}'{suggestion(name, known)}  (known: {names}; {_MORE})")
        return known[name]


def _may_replace(offer: _Offer, cls: type[Component], plugin: str | None) -> bool:
    return not offer.installed and (offer.owner == plugin or origin_of(offer.cls) == origin_of(cls))


def _require_one_package_each(plugins: Iterable[Installed]) -> None:
    packages: dict[str, str] = {}
    for point, package in plugins:
        first = packages.setdefault(point.name, package)
        if first != package:
            raise PluginError(
                f"the packages '{first}' and '{package}' both name their plugin '{point.name}'; uninstall one"
                f"{either(f', or leave out both: --without {point.name}', '')}"
            )


def _load(plugin: Installed) -> object:
    require_version_for_package(plugin)  # first: code for another version may not even load
    try:
        return plugin.point.load()
    except KeyboardInterrupt:
        raise
    # An import can raise anything, or end the process. In each case the user needs the plugin's name.
    except BaseException as error:
        raise _broken(plugin.point.name, error) from error


def _broken(name: str, error: BaseException) -> PluginError:
    return PluginError(f"plugin '{name}' does not load: {_reason(error)}{_way_out(name)}")


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {text_of(error)}"


def _leave_out(*plugins: str) -> str:
    return either("leave one out: --without " + " or --without ".join(plugins), "uninstall one of them")


def _way_out(plugin: str) -> str:
    return f"; fix it, or {either(f'leave it out: --without {plugin}', 'uninstall it')}"


_current: Registry | None = None
_is_discovering = False


@contextmanager
def _discovering() -> Iterator[None]:
    global _is_discovering
    _is_discovering = True
    try:
        yield
    finally:
        _is_discovering = False


def current_registry() -> Registry:
    """The registry of this process. The first call discovers the installed plugins; it can raise `PluginError`."""
    global _current
    if _is_discovering:
        raise PluginError(
            "it calls register(), or reads the list of plugins, while it is imported. A plugin must return its "
            "components from mdpo_components(); register() is for scripts and notebooks"
        )
    if _current is None:
        _current = Registry.discover()
    return _current


def use_registry(registry: Registry) -> None:
    """Make ``registry`` the registry of this process."""
    global _current
    _current = registry


@overload
def register(name: str) -> Callable[[_Thing], _Thing]: ...
@overload
def register(name: str, component: _Thing) -> _Thing: ...
def register(name: Any = None, component: Any = None) -> Any:
    """Give a component class from a script, a notebook or a plugin file a name that recipes can use in this process.

    Write ``@register("mine")`` above a class, or call ``register("mine", Mine)``. Both return what they register.
    ``component`` is a component class, or a complete plugin: an object or a module with hooks. When a notebook's cell
    runs again, its class replaces the earlier one. Raises `PluginError`, and registers nothing, if the name is not
    valid or another component has it, or if recipes could not use ``component``.
    """
    if component is None:
        require_name(name)
        return lambda decorated: register(name, decorated)
    if not give(name, component):  # the registry takes what a plugin file gives when all of its code has run
        current_registry().add(name, component)
    return component


def make_component(kind: str, name: str, **options: Any) -> Component:
    """Make a component from its kind, name and options, as a recipe does: ``component("loss", "dpo", beta=0.1)``.

    Raises `PluginError` for an unknown kind or name, pydantic's ``ValidationError`` for a wrong option.
    """
    cls = current_registry().get(kind, name)
    return (cls.of if issubclass(cls, Term) else cls)(**options)
