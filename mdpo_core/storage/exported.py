"""The digests in an exported folder, which tell whether it is still what a run exported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mdpo_core.errors import DataError, Problem
from mdpo_core.storage.files import sha256

EXPORTED = "exported.json"
# Files beside a model that no program loads.
_BESIDE = (".md", ".gitattributes", ".gitignore", ".png", ".log")


def write_digests(folder: Path, base: Mapping[str, str]) -> None:
    """Write the digests of all files in ``folder`` into it, and those of the model ``base`` that they belong to."""
    files = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    (folder / EXPORTED).write_text(json.dumps({"files": files, "base": dict(sorted(base.items()))}, indent=2))


def missing_files(folder: Path) -> list[str]:
    """The names of exported files that are not in the folder any more; empty if it has no digests."""
    if not (folder / EXPORTED).is_file():
        return []
    return [name for name in _digests(folder / EXPORTED)["files"] if not (folder / name).is_file()]


def require_as_exported(folder: Path, found: Mapping[str, str], base: Mapping[str, str]) -> None:
    """Raise `DataError` if files in ``folder`` have changed since it was exported, or belong to another model.

    ``found``: the digests of its files; ``base``: those of the recipe's model. A folder without digests was not
    exported by mdpo, or by an earlier version; it passes.
    """
    if EXPORTED not in found:
        return
    written = _digests(folder / EXPORTED)
    others = [name for name in found.keys() - {EXPORTED} if not name.endswith(_BESIDE) and not _is_hidden(name)]
    changed = sorted(name for name in {*others, *written["files"]} if found.get(name) != written["files"].get(name))
    if changed:
        message = (
            f"{', '.join(changed)}: changed, added or removed since the export; export the run again, or remove "
            f"{EXPORTED} if the change is wanted"
        )
        raise DataError([Problem(str(folder), "", message)])
    differ = sorted(name for name, digest in written["base"].items() if base.get(name) != digest)
    if differ:
        message = f"it was trained from another model than the recipe's: {', '.join(differ)} differ; set model.path"
        raise DataError([Problem(str(folder), "", message)])


def _is_hidden(name: str) -> bool:
    """Whether a file belongs to a download or a file manager: ``.cache/``, ``.DS_Store``."""
    return any(part.startswith(".") for part in Path(name).parts)


def _digests(file: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        content = json.loads(file.read_text())
        return {part: dict(content[part]) for part in ("files", "base")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = "cannot be read as the digests of an export; export the run again, or remove the file"
        raise DataError([Problem(str(file), "", message)]) from error
