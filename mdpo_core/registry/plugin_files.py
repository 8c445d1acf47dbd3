"""Plugins that are one file: read, run, and added to the registry of this process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mdpo_core.errors import PluginError, raised
from mdpo_core.processes.file_modules import FileModule
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.registry.offers import fault_among, has_hooks, offered_by
from mdpo_core.registry.required_version import require_version_for_file

SUFFIX = ".py"
_HOW = (
    'write @register("mine") above a class, or return the classes from mdpo_components(), with @hookimpl above it '
    "(docs/extend/write-a-plugin.md)"
)


def absolute(path: str | Path) -> Path:
    """The path from the root, without ``..``. A link keeps its own name."""
    return Path(os.path.normpath(Path(path).absolute()))


def use_plugin_file(path: str | Path) -> FileModule:
    """Run a file and offer its components in this process, as if a package had them. The same content is run once.

    If the file has changed, its new components replace the old ones, as in a notebook. Raises `PluginError`, and adds
    nothing, if the file does not exist, if it does not run, offers nothing, or offers what recipes cannot use.
    """
    file = _read(Path(path))
    _add(current_registry(), file)
    return file


def loaded_files(paths: Iterable[Path]) -> list[FileModule]:
    """The files of a recipe as this process runs them; those that it does not run yet are run now."""
    known = {file.path: file for file in current_registry().files.values()}
    return [known.get(absolute(path)) or use_plugin_file(path) for path in paths]


def _read(path: Path) -> FileModule:
    try:
        if path.suffix != SUFFIX:
            raise PluginError(f"{path} is not a plugin file: its name must end in {SUFFIX}{_or_installed(path)}")
        if path.exists() and not path.is_file():
            raise PluginError(f"{path} is not a file; a plugin file is Python code")
        return FileModule(absolute(path), path.read_bytes())
    except FileNotFoundError as error:
        raise PluginError(f"{path}: the plugin file does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise PluginError(f"{path}: the plugin file cannot be read: {reason}") from error


def _or_installed(path: Path) -> str:
    return "" if path.suffix or path.parent != Path() else "; an installed plugin is there without being named"


def _add(registry: Registry, file: FileModule) -> None:
    known = registry.files.get(file.module)
    if known is not None and known.source == file.source:
        registry.files[file.module] = file  # the same, or a copy of it
        return
    if known is not None and known.path != file.path:
        raise PluginError(
            f"the plugin files {known.path} and {file.path} have the same name, but not the same content; rename one, "
            "or leave it out"
        )
    require_version_for_file(file.path, file.source)
    with file.kept_before():
        module, given = _executed(file)
        registry.register_file(file, module, _offered(file, module, given))


def _executed(file: FileModule) -> tuple[Any, list[tuple[str, object]]]:
    try:
        return file.execute()
    except KeyboardInterrupt:
        raise
    # Code can raise anything, or end the process. In each case the user needs the file's name.
    except BaseException as error:
        raise PluginError(f"the plugin file {file.path} does not load: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"its code {raised(error)}"


def _offered(file: FileModule, module: Any, given: list[tuple[str, object]]) -> list[tuple[str, Any]]:
    """What the file offers by its hook and by `register`; raises `PluginError` if that is nothing, or not usable."""
    try:
        offered = [*offered_by(module, file.path.name), *given]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"the plugin file {file.path} does not load: {_reason(error)}") from error
    if not offered and not has_hooks(module):
        raise PluginError(f"the plugin file {file.path} offers nothing: {_HOW}")
    fault = fault_among(offered)
    if fault is not None:
        raise PluginError(f"the plugin file {file.path} offers {fault}")
    return offered
