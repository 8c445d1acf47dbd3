"""Locks of files, which the kernel releases when their process ends in any way."""

from __future__ import annotations

import errno
import fcntl
from typing import IO

# Some network file systems have no locks.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def lock(file: int | IO[str] | IO[bytes], *, wait: bool = False) -> bool:
    """Lock an open file for this process alone; False where the file system has no locks.

    Raises `BlockingIOError` if another process holds the lock, unless this call may ``wait`` for it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
