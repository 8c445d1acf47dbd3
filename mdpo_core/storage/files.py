"""Writes files and folders completely or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mdpo_core.errors import CheckpointError, first_line, shown
from mdpo_core.storage.file_locks import lock

UNFINISHED = ".unfinished-"


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to write into; it replaces ``path`` when everything is on the disk.

    If writing fails, ``path`` stays as it was, and `CheckpointError` says why.
    """
    beside = path.with_name(UNFINISHED + path.name)
    try:
        with unwritable(path):
            begun_folder(path)
            yield beside
            finished_folder(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def begun_folder(path: Path) -> Path:
    """An empty folder beside ``path``, for `finished_folder`."""
    beside = path.with_name(UNFINISHED + path.name)
    with unwritable(path):
        remove(beside)
        beside.mkdir(parents=True)
    return beside


def finished_folder(beside: Path, path: Path) -> None:
    """Replace ``path`` by a folder when everything in it is on the disk."""
    for file in sorted(beside.rglob("*")):
        sync(file)
    sync(beside)
    _replace(beside, path)


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Turn an error in writing into a `CheckpointError` that names ``path``."""
    import safetensors

    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        raise _unwritten(path, error) from error


def atomic_write(path: Path, content: bytes) -> None:
    """Replace a file by ``content`` when that is on the disk; raises `CheckpointError` like `atomic_folder`."""
    with atomic_file(path) as file:
        file.write(content)


def _unwritten(path: Path, error: Exception) -> CheckpointError:
    reason = getattr(error, "strerror", None) or str(error)  # without the path, which the message names
    return CheckpointError(f"{path} could not be written: {reason}; what was saved before is untouched")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write; it replaces ``path`` when it is on the disk.

    If that fails, ``path`` stays as it was, and `CheckpointError` says why.
    """
    beside = path.with_name(UNFINISHED + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(beside)
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder, and hold it; it is released even by a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        # Where the file system has no locks, digests show whether another process interfered.
        _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    try:
        lock(file)
    except BlockingIOError:
        logging.getLogger(__name__).warning("waiting for another run to finish with %s", folder)
        lock(file, wait=True)


def remove_folder(path: Path) -> None:
    """Remove a folder in one step, so that no reader sees a part of it."""
    gone = path.with_name(f"{UNFINISHED}old-{path.name}")
    remove(gone)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files that a killed process left behind."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        remove(leftover)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content; do nothing if there is none of them."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises `ValueError` with the reason if there is none, whatever the file holds."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"it holds {shown(value)} instead of an object")
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(new: Path, path: Path) -> None:
    old = path.with_name(f"{UNFINISHED}old-{path.name}")
    if path.exists():
        remove(old)
        path.rename(old)
    new.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
