"""Models that mdpo writes once into the cache, and uses like any other model from then on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdpo_core import DataError, Problem, atomic_folder, exclusive_folder


def cache() -> Path:
    """``$MDPO_CACHE``, or ``mdpo`` in the user's cache folder."""
    own, users = os.environ.get("MDPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(users or Path.home() / ".cache") / "mdpo"


def kept(root: Path, name: str, about: str, refused: tuple[str, str], write: Callable[[Path], None]) -> Path:
    """The folder ``name`` in ``root``; ``write(folder)`` fills it at the first call, in one process alone.

    ``about``: what is done then, for the log. ``refused``: what is written, and a remedy, for the `DataError` that is
    raised if it cannot be written.
    """
    # Exported adapters name this folder, so the path must be absolute.
    root = root.absolute()
    folder = root / name
    # The folder appears only when it is complete, so most callers need no lock.
    if folder.is_dir():
        return folder
    _create(root, *refused)
    with exclusive_folder(root):
        if not folder.is_dir():
            logging.getLogger(__name__).warning("%s once, into %s", about, folder)
            with atomic_folder(folder) as beside:
                write(beside)
    return folder


def _create(root: Path, what: str, remedy: str) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / ".lock").touch()
    except OSError as error:
        raise DataError([Problem(str(root), "", f"{what} cannot be written here ({error}); {remedy}")]) from error


def digest_of(settings: Any, files: list[Path]) -> str:
    """16 letters that change with the settings, and with the names, sizes and times of the files."""
    states = [(file.name, state.st_size, state.st_mtime_ns) for file in files for state in (file.stat(),)]
    return hashlib.sha256(json.dumps([settings, states], sort_keys=True).encode()).hexdigest()[:16]
