"""Lets one run at a time work in a run directory."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdpo_core.errors import RecipeError
from mdpo_core.remedies import option
from mdpo_core.storage.file_locks import lock
from mdpo_core.storage.files import unwritable

LOCK = "run.lock"
_MOST_PROCESSES = 2**31
_TIME_TO_WRITE = 1.0  # seconds in which a process that has just locked the file writes its host and number


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Lock a run directory inside the ``with``; the file ``run.lock`` in it names this process.

    The kernel unlocks the file when its process ends in any way, so a file that a killed process left behind is no
    obstacle. Raises `RecipeError`, which names the other process, if the directory is locked. Does nothing in a
    directory without write permission.
    """
    existed = folder.exists()
    if existed and not (folder.is_dir() and os.access(folder, os.W_OK)):
        yield
        return
    descriptor = _locked(folder)
    try:
        yield
    finally:
        # Remove the file while it is locked: another run may be waiting for the lock.
        (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        if not existed:
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _locked(folder: Path) -> int:
    """The descriptor of the locked file, into which this process has written its host and number."""
    while True:
        with unwritable(folder):
            _make(folder)
            descriptor = _opened(folder / LOCK)
        if descriptor is None:
            continue
        try:
            _lock(descriptor, folder)
            # The run that held the lock may have removed the file since this process opened it.
            if _is_file_of(descriptor, folder / LOCK):
                _write_owner(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Make the folder. Another run may remove it, new and empty, while Python looks whether it is a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if os.path.lexists(folder) and not folder.is_dir():
            raise


def _opened(path: Path) -> int | None:
    """A descriptor of the file; None if another run has just removed the new, empty folder."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError:
        return None


def _lock(descriptor: int, folder: Path) -> None:
    try:
        is_locked = lock(descriptor)
    except BlockingIOError:
        raise _in_use(folder, _owner_once_written(descriptor)) from None
    owner = None if is_locked else _owner(descriptor)
    if owner is not None and not _is_dead(owner):
        raise _in_use(folder, owner)


def _in_use(folder: Path, owner: tuple[str, int] | None) -> RecipeError:
    holder = "another run" if owner is None else f"the run of process {owner[1]} on the host {owner[0]}"
    return RecipeError(
        f"{folder} is in use by {holder}; wait until it ends, or choose another directory with "
        f"{option('--run-dir DIR')}. If it has ended, for example on another host, remove {folder / LOCK}"
    )


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode() + b"\n", 0)


def _owner_once_written(descriptor: int) -> tuple[str, int] | None:
    deadline = time.monotonic() + _TIME_TO_WRITE
    while (owner := _owner(descriptor)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return owner


def _owner(descriptor: int) -> tuple[str, int] | None:
    """The host and the process that the file names; None if it names none."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        host, process = str(owner["host"]), int(owner["process"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (host, process) if 0 < process < _MOST_PROCESSES else None


def _is_dead(owner: tuple[str, int]) -> bool:
    """Whether the process has ended; False for a process on another host, where this cannot be known."""
    host, process = owner
    if host != socket.gethostname():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # a process of another user
    return False
