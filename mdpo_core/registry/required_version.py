"""The version of mdpo that a plugin says it needs, in the words of pip.

A package says it among its dependencies (``mdpo>=0.2``), and a plugin file at its top, as PEP 723 describes it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import version

from mdpo_core.errors import PluginError, shown
from mdpo_core.registry.installed import Installed
from mdpo_core.remedies import either

# A requirement that may be one of mdpo, and not of mdpo-bunny.
_OF_MDPO = re.compile(r"\s*mdpo\s*(?![\w.-])", re.IGNORECASE)
_BLOCK = re.compile(r"^# /// script[ \t]*\r?\n((?:#(?: .*)?\r?\n)*?)# ///[ \t]*\r?$", re.MULTILINE)


def require_version_for_package(plugin: Installed) -> None:
    """Raise `PluginError` if the package of an installed plugin needs another mdpo than this one."""
    point, package = plugin
    if point.dist is None or package == "mdpo":
        return
    leave_out = either(f"leave the plugin out: --without {point.name}", "uninstall the plugin")
    _require(point.dist.requires or (), f"plugin '{point.name}' ({package} {point.dist.version})", leave_out)


def require_version_for_file(path: object, source: bytes) -> None:
    """Raise `PluginError` if a plugin file needs another mdpo than this one, or says it in a way that is not TOML."""
    plugin = f"the plugin file {path}"
    found = _BLOCK.search(source.decode("utf-8", "replace"))
    if found is None:
        return
    try:
        block = tomllib.loads("\n".join(line[2:] for line in found[1].splitlines()))
    except tomllib.TOMLDecodeError as error:
        raise PluginError(f"{plugin}: the block '# /// script' is not TOML: {error}") from error
    needed = block.get("dependencies", [])
    if not isinstance(needed, list) or not all(isinstance(each, str) for each in needed):
        raise PluginError(
            f"{plugin}: 'dependencies' of the block '# /// script' is a list of texts, not {shown(needed)}"
        )
    _require(needed, plugin, "leave the file out")


def _require(requirements: Iterable[str], plugin: str, leave_out: str) -> None:
    for text in requirements:
        if _OF_MDPO.match(text):
            _require_one(text, plugin, leave_out)


def _require_one(text: str, plugin: str, leave_out: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement  # few plugins need it, and discovery is quick

    try:
        needed = Requirement(text)
    except InvalidRequirement as error:
        message = f"{plugin} says in words that pip does not know which mdpo it needs: '{text}'"
        raise PluginError(f"{message}; its author writes it as in 'mdpo>=1.2'; until then, {leave_out}") from error
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return  # for another Python, or for an extra that nobody asked for
    installed = version("mdpo")
    if not needed.specifier.contains(installed, prereleases=True):
        other = f'"mdpo{needed.specifier}"'
        raise PluginError(
            f"{plugin} needs mdpo{needed.specifier}, but this is mdpo {installed}; "
            f"install that one (pip install {other}), or {leave_out}"
        )
