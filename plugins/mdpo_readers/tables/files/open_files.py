"""How many files stay open: a data set may have more shards than a process may have open files."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Protocol

MOST = 100


class Closable(Protocol):
    """Something that has a file open, and opens it again when it needs it."""

    def close(self) -> None:
        """Close the file."""


_open: deque[weakref.ref[Closable]] = deque()


def has_opened(holder: Closable) -> None:
    """Count a file that ``holder`` has opened; close the one that was opened first if there are too many."""
    _open.append(weakref.ref(holder))
    while len(_open) > MOST:
        first = _open.popleft()()
        if first is not None:
            first.close()
