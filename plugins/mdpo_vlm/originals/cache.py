"""Where converted checkpoints are kept, each under a digest of what it was made of."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from mdpo_core import DataError, Problem, atomic_folder, exclusive_folder
from mdpo_vlm.files.folder import encoder_files
from mdpo_vlm.originals.checkpoint_layout import Original, files_of_weights

# To be raised whenever the same checkpoint is converted into something else.
_VERSION = 1


def converted(original: Original, root: Path | None) -> Path:
    """The checkpoint in transformers' layout; made now if it has not been made before.

    Raises `DataError` for a checkpoint that is incomplete or not covered, `CheckpointError` if it cannot be written.
    """
    original.require_covered()
    # Exported adapters name it, wherever they are loaded from.
    root = (root or cache() / "converted").absolute()
    folder = root / f"{original.name}-{_digest(original)}"
    # Whole as soon as it is there, so that most callers need no lock.
    if folder.is_dir():
        return folder
    from mdpo_vlm.originals.convert import convert

    _make(root)
    with exclusive_folder(root):
        if not folder.is_dir():
            logging.getLogger(__name__).warning("converting %s once, into %s", original.folder, folder)
            with atomic_folder(folder) as beside:
                convert(original, beside)
    return folder


def cache() -> Path:
    """``$MDPO_CACHE``, or ``mdpo`` in the user's cache folder."""
    own, users = os.environ.get("MDPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(users or Path.home() / ".cache") / "mdpo"


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / ".lock").touch()
    except OSError as error:
        text = f"converted checkpoints cannot be kept here ({error}); set model.converted to another folder"
        raise DataError([Problem(str(root), "", text)]) from error


def _digest(original: Original) -> str:
    made_of = [_VERSION, original.layout.ends_in_prompts, original.config, original.tower_name]
    files = [(file.name, *_state(file)) for file in _files(original)]
    return hashlib.sha256(json.dumps([made_of, files], sort_keys=True).encode()).hexdigest()[:16]


def _files(original: Original) -> Iterator[Path]:
    yield from original.weights()
    yield from encoder_files(original.folder)
    yield from (file for file in (original.folder / "vision_config.json",) if file.is_file())
    tower = original.local_tower()
    if tower is not None:
        yield from sorted(tower.glob("*.json"))
        # A tower inside the checkpoint needs its folder for the configuration alone.
        yield from files_of_weights(tower) if any(tower.glob("*.safetensors")) or any(tower.glob("*.bin")) else ()


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns
