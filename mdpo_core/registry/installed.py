"""The plugins that are installed, and the packages that they are in."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import NamedTuple

import mdpo_core.hooks as hooks


class Installed(NamedTuple):
    """A plugin's entry point and its package; without a package, the module that it names."""

    point: EntryPoint
    package: str


def installed_plugins() -> list[Installed]:
    """The plugins that are installed now (entry points of the group ``mdpo``), by name, then by package."""
    packages: dict[int, str] = {}  # a package has many plugins, and each look at its name reads all that it says

    def package_of(point: EntryPoint) -> str:
        if point.dist is None:
            return point.value
        return packages.get(id(point.dist)) or packages.setdefault(id(point.dist), point.dist.name)

    found = [Installed(point, package_of(point)) for point in entry_points(group=hooks.PROJECT)]
    return sorted(found, key=lambda plugin: (plugin.point.name, plugin.package))


@cache
def packages_of_plugins() -> frozenset[str]:
    """The packages of the plugins that were installed when this process first asked: it runs no others."""
    return frozenset(plugin.package for plugin in installed_plugins() if plugin.point.dist is not None)


@cache
def version_of(package: str) -> str | None:
    """The version of a package that was installed when this process first asked; None if it was not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
