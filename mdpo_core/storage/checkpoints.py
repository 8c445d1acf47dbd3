"""Saves checkpoints completely or not at all, verifies them when they are loaded, and keeps the newest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError, shown
from mdpo_core.interfaces.backend import Engine
from mdpo_core.processes.world import World
from mdpo_core.remedies import option
from mdpo_core.storage.files import (
    UNFINISHED,
    begun_folder,
    finished_folder,
    read_json_object,
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
_PREFIX = "step-"
_REMEDY = "remove the folder to resume from an older checkpoint"
_MOST_DIGITS = 20
_DIGEST = "digest"
# The keys that a resumed run reads, and the types of their values.
_KEYS = {"format": int, "step": int, "processes": int, "sha256": dict, "backend": dict, "running": dict}


@dataclass(frozen=True)
class Checkpoints:
    """The folder ``checkpoints/`` of a run: ``step-NNNNNN/``, a file for each process, with their digests.

    In a run with several processes, all of them must call `save` and `load_newest`.
    """

    folder: Path
    keep: int

    def save(
        self, engine: Engine, step: int, world: World, metadata: Mapping[str, Any], best: int | None = None
    ) -> Path:
        """Write the checkpoint after ``step`` finished steps, then remove those that are too old to keep.

        The checkpoint of the step ``best`` is kept, too. ``metadata``: what a resumed run needs besides the engine's
        state, as JSON values. Raises `CheckpointError` in every process if one of them cannot write; older checkpoints
        stay whole.
        """
        path = self.folder / _folder_name(step)
        folder = world.computed_by_main(lambda: begun_folder(path))
        name = _state_file(world.rank, world.size)
        # Collect the whole state before writing: an engine may ask other processes for it, and they must not wait for
        # one whose disk is full.
        pieces = list(engine.state())
        written = world.gather(_attempt(lambda: _write(pieces, folder / name)))
        world.computed_by_main(lambda: self._finish(path, folder, step, written, metadata))
        world.computed_by_main(lambda: self._remove_old(best))
        return path

    def _finish(
        self, path: Path, folder: Path, step: int, written: list[tuple[str, str]], metadata: Mapping[str, Any]
    ) -> None:
        failed = [error for _, error in written if error]
        if failed:
            shutil.rmtree(folder, ignore_errors=True)
            raise CheckpointError(failed[0])
        # Lists the files by their names, because a network file system may give an old listing of the folder.
        digests = {_state_file(rank, len(written)): digest for rank, (digest, _) in enumerate(written)}
        state = {"format": _FORMAT, "step": step, "processes": len(written), "sha256": digests, **metadata}
        with unwritable(path):
            (folder / STATE).write_text(json.dumps({**state, _DIGEST: _digest(state)}, indent=2) + "\n")
            finished_folder(folder, path)

    def _remove_old(self, best: int | None) -> None:
        kept = self.by_step()
        for step in list(kept)[: -self.keep]:
            if step != best:
                remove_folder(kept[step])

    def all(self) -> list[Path]:
        """The complete checkpoints, oldest first."""
        return list(self.by_step().values())

    def by_step(self) -> dict[int, Path]:
        """The complete checkpoints by the number of finished steps, oldest first."""
        steps = {path: _step_of(path) for path in self.folder.glob(f"{_PREFIX}*") if (path / STATE).is_file()}
        return dict(sorted((step, path) for path, step in steps.items() if step is not None))

    def newest_step(self) -> int:
        """Number of finished steps in the newest checkpoint; 0 without a checkpoint."""
        return max(self.by_step(), default=0)

    def require_whole(self) -> None:
        """Raise `CheckpointError` if something in the folder looks like a checkpoint but is not one.

        A run that ignored it could continue from an older step than its user expects.
        """
        if self.folder.exists() and not self.folder.is_dir():
            other = option("--run-dir DIR")
            raise CheckpointError(f"{self.folder} is not a folder; move it away, or choose another: {other}")
        for path in sorted(self.folder.glob(f"{_PREFIX}*")):
            if _step_of(path) is None:
                raise CheckpointError(
                    f"{path} is not a checkpoint: checkpoints are called {_folder_name(1)}, {_folder_name(2)}, ...; "
                    "restore its name, or move it away"
                )
            if not (path / STATE).is_file():
                raise CheckpointError(
                    f"{path / STATE} is missing; remove the folder to resume from an older checkpoint"
                )

    def load_newest(self, engine: Engine, world: World) -> Mapping[str, Any] | None:
        """Restore the newest checkpoint. Returns its metadata with its ``step``, or None without a checkpoint."""
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
            raise CheckpointError(f"{path} belongs to another model: {error}") from error
        return metadata

    def _newest(self) -> Path | None:
        remove_unfinished(self.folder)
        self.require_whole()
        paths = self.all()
        return paths[-1] if paths else None


def _folder_name(step: int) -> str:
    return f"{_PREFIX}{step:06d}"


def _step_of(path: Path) -> int | None:
    """The number of finished steps in the name of a checkpoint's folder; None for another name."""
    digits = path.name.removeprefix(_PREFIX)
    # Python refuses to read numbers with thousands of digits.
    step = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < _MOST_DIGITS else None
    return step if step is not None and path.name == _folder_name(step) else None


def _state_file(rank: int, size: int) -> str:
    return f"state-{rank:05d}-of-{size:05d}.safetensors"


def read_metadata(path: Path) -> dict[str, Any]:
    """A checkpoint's metadata; raises `CheckpointError` if they are damaged, or of another step."""
    file = path / STATE
    try:
        metadata = read_json_object(file)
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged ({error}); {_REMEDY}") from error
    if metadata.get("format", _FORMAT) != _FORMAT:
        raise CheckpointError(
            f"{path} was written by another version of mdpo: its format is {metadata['format']!r}; "
            f"this version reads {_FORMAT}"
        )
    problem = _problem(metadata, path)
    if problem:
        raise CheckpointError(f"{file} is damaged: {problem}; {_REMEDY}")
    return metadata


def _problem(metadata: Mapping[str, Any], path: Path) -> str:
    """The problem of a checkpoint's metadata; empty if there is none."""
    for key, kind in _KEYS.items():
        if type(metadata.get(key)) is not kind:
            return f"'{key}' is {shown(metadata[key])}" if key in metadata else f"'{key}' is missing"
    if metadata.get(_DIGEST) != _digest(metadata):
        return "it differs from what was saved"
    if path.name != _folder_name(metadata["step"]):
        return f"it belongs to step {metadata['step']}, whose folder is called {_folder_name(metadata['step'])}"
    files = metadata["sha256"]
    if not files or not all(Path(name).name == name and isinstance(digest, str) for name, digest in files.items()):
        return "'sha256' does not name files of the folder with their digests"
    if not all(map(_is_total_and_count, metadata["running"].values())):
        return "a value of 'running' is not a total and a count"
    return ""


def _is_total_and_count(value: object) -> bool:
    return isinstance(value, list) and [type(number) for number in value] == [float, int]


def _digest(metadata: Mapping[str, Any]) -> str:
    """The digest of the metadata, without the digests of the files, which must match the files."""
    digested = {key: value for key, value in metadata.items() if key not in (_DIGEST, "sha256")}
    # Compare in the form that is read again: all keys of JSON are text.
    plain = json.loads(json.dumps(digested))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def saved_state(path: Path, metadata: Mapping[str, Any]) -> SavedEngineState:
    """The engine's state in a checkpoint."""
    return SavedEngineState([path / name for name in metadata["sha256"]])


def verify(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's metadata and compare every file with its digest; raises `CheckpointError`."""
    metadata = read_metadata(path)
    _verify(path, metadata, World())
    return metadata


def _verify(path: Path, metadata: Mapping[str, Any], world: World) -> str:
    """Compare this process's part of the files with their digests. Returns empty text if all are equal."""
    for name, digest in list(metadata["sha256"].items())[world.rank :: world.size]:
        file = path / name
        if not file.is_file() or sha256(file) != digest:
            problem = "differs from what was saved" if file.is_file() else "is missing"
            raise CheckpointError(f"{file} {problem}; remove {path} to resume from an older checkpoint")
    return ""


def _write(pieces: list[Any], file: Path) -> str:
    if not file.parent.is_dir():
        raise CheckpointError(f"{file.parent} is not visible to every process; nodes must share output.dir")
    with unwritable(file.parent.with_name(file.parent.name.removeprefix(UNFINISHED))):
        write_state(pieces, file)
        # The process that wrote a file must sync it: on a network file system no other process can.
        sync(file)
    return sha256(file)


def _attempt(action: Callable[[], str]) -> tuple[str, str]:
    """The result of an action and the message of its error; one of them is empty."""
    try:
        return action(), ""
    except CheckpointError as error:
        return "", str(error)
