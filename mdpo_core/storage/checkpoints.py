"""Checkpoints: whole or absent, verified when loaded, the newest kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError
from mdpo_core.interfaces.backend import Engine
from mdpo_core.processes.world import World
from mdpo_core.storage.files import (
    begun_folder,
    finished_folder,
    remove_folder,
    remove_unfinished,
    sha256,
    sync,
    unwritable,
)
from mdpo_core.types.engine_state import SavedEngineState, write_state

STATE = "checkpoint.json"
# The version of the files and of checkpoint.json; raise it when either changes.
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoints:
    """The folder ``checkpoints/`` of a run: ``step-NNNNNN/``, a file for each process, with their digests.

    In a run of several processes all of them call `save` and `load_newest`.
    """

    folder: Path
    keep: int

    def save(self, engine: Engine, step: int, world: World, metadata: Mapping[str, Any]) -> Path:
        """Write the checkpoint after ``step`` finished steps, then remove those that are too old to keep.

        ``metadata``: what a resumed run needs to know beside the engine's state, as JSON holds it. Raises
        `CheckpointError` in every process if one of them cannot write; older checkpoints stay whole.
        """
        path = self.folder / f"step-{step:06d}"
        folder = world.computed_by_main(lambda: begun_folder(path))
        name = _state_file(world.rank, world.size)
        # Collect the whole state before writing: an engine may ask other processes for it, and they must not wait for
        # one whose disk is full.
        pieces = list(engine.state())
        written = world.gather(_attempt(lambda: _write(pieces, folder / name)))
        world.computed_by_main(lambda: self._finish(path, folder, step, written, metadata))
        return path

    def _finish(
        self, path: Path, folder: Path, step: int, written: list[tuple[str, str]], metadata: Mapping[str, Any]
    ) -> None:
        failed = [error for _, error in written if error]
        if failed:
            shutil.rmtree(folder, ignore_errors=True)
            raise CheckpointError(failed[0])
        # By their names, not from a listing of the folder: a network file system may give an old listing.
        digests = {_state_file(rank, len(written)): digest for rank, (digest, _) in enumerate(written)}
        state = {"format": _FORMAT, "step": step, "processes": len(written), "sha256": digests, **metadata}
        with unwritable(path):
            (folder / STATE).write_text(json.dumps(state, indent=2) + "\n")
            finished_folder(folder, path)
        for old in self.all()[: -self.keep]:
            remove_folder(old)

    def all(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if (path / STATE).is_file())

    def newest_step(self) -> int:
        """Finished steps of the newest checkpoint, 0 without one."""
        found = self.all()
        return int(found[-1].name.removeprefix("step-")) if found else 0

    def load_newest(self, engine: Engine, world: World) -> Mapping[str, Any] | None:
        """Restore the newest checkpoint and give its metadata, with its ``step``; None without a checkpoint."""
        path = world.computed_by_main(self._newest)
        if path is None:
            return None
        metadata = world.computed_by_main(lambda: read_metadata(path))
        bad = world.gather(_attempt(lambda: _verify(path, metadata, world)))
        for _, error in bad:
            if error:
                raise CheckpointError(error)
        try:
            state = saved_state(path, metadata)
            engine.restore(state)
            state.require_all_read()
        except CheckpointError as error:
            raise CheckpointError(f"{path} is of another model: {error}") from error
        return metadata

    def _newest(self) -> Path | None:
        remove_unfinished(self.folder)
        found = self.all()
        return found[-1] if found else None


def _state_file(rank: int, size: int) -> str:
    return f"state-{rank:05d}-of-{size:05d}.safetensors"


def read_metadata(path: Path) -> dict[str, Any]:
    """A checkpoint's metadata; raises `CheckpointError` if they are damaged."""
    try:
        metadata = dict(json.loads((path / STATE).read_text()))
        int(metadata["step"]), dict(metadata["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / STATE} is damaged ({error}); remove the folder to resume from an older one"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} was written by another version of mdpo: its format is {metadata.get('format')}; "
            f"this version reads {_FORMAT}"
        )
    return metadata


def saved_state(path: Path, metadata: Mapping[str, Any]) -> SavedEngineState:
    """The engine's state that a checkpoint holds."""
    return SavedEngineState([path / name for name in metadata["sha256"]])


def verify(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's metadata and compare every file with its digest; raises `CheckpointError`."""
    metadata = read_metadata(path)
    _verify(path, metadata, World())
    return metadata


def _verify(path: Path, metadata: Mapping[str, Any], world: World) -> str:
    """Check this process's part of the files."""
    for name, digest in list(metadata["sha256"].items())[world.rank :: world.size]:
        file = path / name
        if not file.is_file() or sha256(file) != digest:
            what = "differs from what was saved" if file.is_file() else "is missing"
            raise CheckpointError(f"{file} {what}; remove {path} to resume from an older checkpoint")
    return ""


def _write(pieces: list[Any], file: Path) -> str:
    if not file.parent.is_dir():
        raise CheckpointError(f"{file.parent} is not visible to every process; nodes must share output.dir")
    with unwritable(file.parent.parent / file.parent.name):
        write_state(pieces, file)
        # The process that wrote a file must sync it: on a network file system no other process can.
        sync(file)
    return sha256(file)


def _attempt(action: Callable[[], str]) -> tuple[str, str]:
    """A result, or an error's message, which all processes must know."""
    try:
        return action(), ""
    except CheckpointError as error:
        return "", str(error)
