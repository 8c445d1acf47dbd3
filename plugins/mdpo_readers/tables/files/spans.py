"""Where the rows of a file are: each is read when it is asked for, from the file itself; nothing is copied."""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.line_spans import LineSpans
from mdpo_readers.tables.files.open_files import has_opened

Places = NDArray[numpy.int64]

_LOCK = RLock()  # no file is closed while another thread reads it


class Spans:
    """The first and the (exclusive) last byte of each row of a file, and the line in which it begins, from 1.

    The file is opened when a row is read, in each process by itself.
    """

    def __init__(self, path: Path, name: Path) -> None:
        """``name``: the file as messages name it, which may be packed."""
        self._path, self._name = path, name
        self._starts, self._ends, self._lines = array("q"), array("q"), array("q")
        self._state = state_of(path)
        self._file: BinaryIO | None = None
        self._closing: weakref.finalize[[], Spans] | None = None

    def add(self, start: int, end: int, line: int) -> None:
        """Add the next row."""
        self._starts.append(start)
        self._ends.append(end)
        self._lines.append(line)

    def add_lines(self, lines: LineSpans) -> None:
        """Add rows that are lines."""
        for found, known in zip(lines, (self._starts, self._ends, self._lines), strict=True):
            known.frombytes(found.tobytes())

    def __len__(self) -> int:
        return len(self._starts)

    def line(self, number: int) -> int:
        """The line in which a row begins."""
        return self._lines[number]

    def text(self, number: int) -> bytes:
        """The bytes of a row. Raises `DataError` if the file has been changed."""
        start, end = self._starts[number], self._ends[number]
        with _LOCK:
            found = os.pread(self._opened().fileno(), end - start, start)
        if len(found) < end - start:
            raise self._changed()
        return found

    def texts(self, rows: range) -> list[bytes]:
        """The bytes of rows that follow one another. Raises `DataError` if the file has been changed."""
        content, starts, ends = self.content(rows)
        return [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def content(self, rows: range) -> tuple[bytes, Places, Places]:
        """The bytes of the file from the first to the last of these rows, and the first and the last byte of each.

        Raises `DataError` if the file has been changed.
        """
        starts, ends = (numpy.array(each[rows.start : rows.stop]) for each in (self._starts, self._ends))
        first, size = int(starts[0]), int(ends[-1] - starts[0])
        with _LOCK:
            found = os.pread(self._opened().fileno(), size, first)
        if len(found) < size:
            raise self._changed()
        return found, starts - first, ends - first

    def parts(self, size: int) -> Iterator[range]:
        """All rows in parts; each begins in ``size`` bytes of the file."""
        start = 0
        while start < len(self):
            end = bisect_left(self._starts, self._starts[start] + size, start + 1)
            yield range(start, end)
            start = end

    def close(self) -> None:
        """Close the file until the next row is read."""
        with _LOCK:
            if self._closing is not None:
                self._closing()
                self._file = self._closing = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None, "_closing": None}

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("rb", buffering=0)
            self._closing = weakref.finalize(self, self._file.close)
            has_opened(self)
            if state_of(self._file.fileno()) != self._state:
                raise self._changed()
        return self._file

    def _changed(self) -> DataError:
        text = "was changed while its rows were read; start again"
        return DataError([Problem(str(self._name), "", text)])


def state_of(file: Path | int) -> tuple[int, int]:
    """What changes when a file changes. ``file``: its path or descriptor."""
    state = os.stat(file)  # noqa: PTH116 - it may be a descriptor
    # Copying and unpacking may set the modification time back, but never the change time.
    return state.st_size, state.st_ctime_ns
