"""Files that are whole or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mdpo_core.errors import CheckpointError

UNFINISHED = ".unfinished-"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, that takes the place of ``path`` once everything is on the disk.

    If writing fails, whatever stood at ``path`` still does, and `CheckpointError` says why.
    """
    import safetensors

    beside = path.with_name(UNFINISHED + path.name)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside
        for file in sorted(beside.rglob("*")):
            _sync(file)
        _sync(beside)
        _replace(beside, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} could not be written: {error}; what was saved before is untouched") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Let ``content`` take the place of a file once it is on the disk; raises `CheckpointError` as `whole_folder`."""
    beside = path.with_name(UNFINISHED + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise CheckpointError(f"{path} could not be written: {error}; what was saved before is untouched") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder, and hold it; it is released even by a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            _lock(file, folder)
        except OSError as error:
            # Some network file systems know no locks; whoever relies on one then finds out by digests.
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
        yield


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.getLogger(__name__).warning("waiting for another run to finish with %s", folder)
        fcntl.flock(file, fcntl.LOCK_EX)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(new: Path, path: Path) -> None:
    old = path.with_name(f"{UNFINISHED}old-{path.name}")
    if path.exists():
        path.rename(old)
    new.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
