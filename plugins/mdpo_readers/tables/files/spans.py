"""Where the rows of a file are: each is read when it is asked for, from the file itself; nothing is copied."""

from __future__ import annotations

import os
import weakref
from array import array
from pathlib import Path
from typing import Any

from mdpo_core import DataError, Problem


class Spans:
    """The first and the (exclusive) last byte of each row of a file, and the line in which it begins, from 1.

    The file stays open; a copy of this object in another process opens it again.
    """

    def __init__(self, path: Path, name: Path) -> None:
        """``name``: the file as messages name it, which may be packed."""
        self._path, self._name = path, name
        self._starts, self._ends, self._lines = array("q"), array("q"), array("q")
        self._open()
        self._state = state_of(self._descriptor)

    def add(self, start: int, end: int, line: int) -> None:
        """Add the next row."""
        self._starts.append(start)
        self._ends.append(end)
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._starts)

    def line(self, number: int) -> int:
        """The line in which a row begins."""
        return self._lines[number]

    def text(self, number: int) -> bytes:
        """The bytes of a row. Raises `DataError` if the file has been changed."""
        start, end = self._starts[number], self._ends[number]
        found = os.pread(self._descriptor, end - start, start)
        if len(found) < end - start:
            raise self._changed()
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_descriptor": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()
        if state_of(self._descriptor) != self._state:
            raise self._changed()

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def _changed(self) -> DataError:
        text = "was changed while its rows were read; start again"
        return DataError([Problem(str(self._name), "", text)])


def state_of(file: Path | int) -> tuple[int, int]:
    """What changes when a file changes. ``file``: its path or descriptor."""
    state = os.stat(file)  # noqa: PTH116 - it may be a descriptor
    # Copying and unpacking may set the modification time back, but never the change time.
    return state.st_size, state.st_ctime_ns
