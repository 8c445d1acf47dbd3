"""The folder of converted checkpoints: each one is stored under a digest of its sources."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from mdpo_core import DataError, MdpoError, Problem, atomic_folder, exclusive_folder
from mdpo_vlm.files.folder import encoder_files, unfit
from mdpo_vlm.originals.checkpoint_layout import Original, files_of_weights

# Raise this number whenever the conversion of a checkpoint changes.
_VERSION = 1


def converted(original: Original, root: Path | None) -> Path:
    """The folder of the checkpoint in the layout of transformers; converts the checkpoint at the first call.

    Raises `DataError` for a checkpoint that is incomplete or not covered, `CheckpointError` if it cannot be written.
    """
    original.require_covered()
    # Exported adapters name this folder, so the path must be absolute.
    root = (root or cache() / "converted").absolute()
    folder = root / f"{original.name}-{_digest(original)}"
    # The folder appears only when it is complete, so most callers need no lock.
    if folder.is_dir():
        return folder
    _create(root)
    with exclusive_folder(root):
        if not folder.is_dir():
            logging.getLogger(__name__).warning("converting %s once, into %s", original.folder, folder)
            with atomic_folder(folder) as beside:
                _convert(original, beside)
    return folder


def _convert(original: Original, folder: Path) -> None:
    """Write the converted model; whatever a library raises on odd files becomes a `DataError`."""
    from mdpo_vlm.files.config import require_sane
    from mdpo_vlm.files.damage import quoted
    from mdpo_vlm.originals.convert import convert

    require_sane(original.folder / "config.json", original.config)
    try:
        convert(original, folder)
    except (MdpoError, OSError, SafetensorError):
        raise  # the last two: the folder cannot be written
    except Exception as error:  # configurations of odd values, tokenizers that do not fit
        message = f"the checkpoint cannot be converted ({quoted(error)}); download it again"
        raise unfit(original.folder, message) from error


def cache() -> Path:
    """``$MDPO_CACHE``, or ``mdpo`` in the user's cache folder."""
    own, users = os.environ.get("MDPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(users or Path.home() / ".cache") / "mdpo"


def _create(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / ".lock").touch()
    except OSError as error:
        message = f"converted checkpoints cannot be written here ({error}); set model.converted to another folder"
        raise DataError([Problem(str(root), "", message)]) from error


def _digest(original: Original) -> str:
    settings = [_VERSION, original.layout.ends_in_prompts, original.config, original.tower_name]
    files = [(file.name, *_size_and_time(file)) for file in _files(original)]
    return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode()).hexdigest()[:16]


def _files(original: Original) -> Iterator[Path]:
    yield from original.weights()
    yield from encoder_files(original.folder)
    yield from (file for file in (original.folder / "vision_config.json",) if file.is_file())
    tower = original.local_tower()
    if tower is not None:
        yield from sorted(tower.glob("*.json"))
        # If the checkpoint contains the tower's weights, this folder has only its configuration.
        yield from files_of_weights(tower) if any(tower.glob("*.safetensors")) or any(tower.glob("*.bin")) else ()


def _size_and_time(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns
