"""A Parquet file as a table: its texts from the cache of `datasets`, its pictures from the file itself."""

from __future__ import annotations

import glob
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Dataset, Features
from datasets.features.features import generate_from_arrow_type
from pyarrow import parquet

from mdpo_core import DataError, Problem, is_shortage
from mdpo_readers.embedded import is_embedded
from mdpo_readers.tables.arrow_table import ArrowTable, contains_paths, holds_bytes
from mdpo_readers.tables.files.open_files import has_opened
from mdpo_readers.tables.files.other_kinds import require_kind
from mdpo_readers.tables.files.spans import state_of
from mdpo_readers.tables.scanned import Scanned
from mdpo_readers.tables.table import Table

_BATCH = 8  # rows whose pictures are unpacked in one go


class ParquetTable(Table):
    """The rows of a file with embedded pictures, of which no copy is written."""

    def __init__(self, rest: Table, pictures: PictureColumns, names: Sequence[str]) -> None:
        """``rest``: the other columns. ``names``: all, in their order."""
        self._rest, self._pictures, self._names = rest, pictures, names

    def __len__(self) -> int:
        return len(self._rest)

    def row(self, number: int) -> dict[str, Any]:
        try:
            pictures = self._pictures.row(number)
        except Exception as error:  # the library may raise any error for a damaged file
            if is_shortage(error) or isinstance(error, DataError):
                raise
            message = f"cannot be read ({type(error).__name__}: {error}); write the table again"
            raise DataError([Problem(self.place(number), "", message)]) from error
        values = self._rest.row(number)
        return {name: pictures[name] if name in pictures else values.get(name) for name in self._names}

    def scan(self) -> Iterator[Scanned]:
        return self._rest.scan()

    def place(self, number: int) -> str:
        return self._rest.place(number)

    def select(self, columns: Sequence[str]) -> Table:
        pictures = [name for name in columns if name in self._pictures.features]
        if not pictures:
            return self._rest.select(columns)
        rest = self._rest.select([name for name in columns if name not in pictures])
        return ParquetTable(rest, self._pictures.select(pictures), columns)

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> Table:
        inside = self._pictures.features
        known = [name for name in columns if name not in inside]
        rest = [name for name in self._rest.select_beside(known, is_watched).column_names() if name not in columns]
        beside = [name for name in inside if is_watched(name, True)]
        return self.select(list(dict.fromkeys([*columns, *rest, *beside])))

    def without_embedded(self, columns: Sequence[str]) -> Table:
        there = [name for name in columns if name in self._pictures.features]
        if all(contains_paths(self._pictures.features[name]) for name in there):
            return self
        return self.select([name for name in self._names if name not in columns])

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return [name for name in self._rest.missing(columns) if name not in self._pictures.features]

    def column_names(self) -> Sequence[str]:
        return self._names


class PictureColumns:
    """Columns of a file that are read from it row by row; quick for rows that follow one another.

    A row in the middle of a row group costs the unpacking of the rows before it in that group.
    """

    def __init__(self, path: Path, features: Features) -> None:
        self.features = features
        self._path, self._state = path, state_of(path)
        self._cursor: _Cursor | None = None

    def select(self, columns: Sequence[str]) -> PictureColumns:
        """The same rows with these columns."""
        return PictureColumns(self._path, Features({name: self.features[name] for name in columns}))

    def row(self, number: int) -> dict[str, Any]:
        """The values of a row, from 0. Raises any error if the file is damaged, `DataError` if it was changed."""
        if self._cursor is None or self._cursor.process != os.getpid():
            if state_of(self._path) != self._state:
                text = "was changed while its rows were read; start again"
                raise DataError([Problem(str(self._path), "", text)])
            self._cursor = _Cursor(self._path, list(self.features))
            has_opened(self)
        return self._cursor.row(number)

    def close(self) -> None:
        """Close the file until the next row is read."""
        self._cursor = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cursor": None}


class _Cursor:
    """A place in an open file, from which rows are read in order. ``process``: that which opened it."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.process = os.getpid()
        self._columns = columns
        self._file = parquet.ParquetFile(path, memory_map=True)
        groups = self._file.metadata
        self._ends = list(accumulate(groups.row_group(group).num_rows for group in range(groups.num_row_groups)))
        self._group, self._first = -1, 0
        self._batch = pyarrow.RecordBatch.from_pylist([])
        self._batches: Iterator[Any] = iter(())

    def row(self, number: int) -> dict[str, Any]:
        if not self._first <= number < self._first + self._batch.num_rows:
            self._read_to(number)
        found: dict[str, Any] = self._batch.slice(number - self._first, 1).to_pylist()[0]
        return found

    def _read_to(self, number: int) -> None:
        """Make the batch with this row the current one."""
        group = bisect_right(self._ends, number)
        if self._group != group or number < self._first:
            self._group, self._first = group, self._ends[group - 1] if group else 0
            self._batches = self._file.iter_batches(_BATCH, [group], self._columns, use_threads=False)
            self._batch = next(self._batches)
        while number >= self._first + self._batch.num_rows:
            self._first += self._batch.num_rows
            self._batch = next(self._batches)


def open_parquet(path: Path) -> Table:
    """The table of a file. Raises any error if it is damaged, `DataError` if it is of another kind."""
    with path.open("rb") as content:
        require_kind(path, content, "parquet")
    file = parquet.ParquetFile(path, memory_map=True)
    features = _features(path, file.schema_arrow)
    if not file.metadata.num_rows:
        return ArrowTable(str(path), Dataset(file.read()))
    first = next(file.iter_batches(1), None)
    pictures = [name for name in features if holds_bytes(features[name]) or (first and _embeds_first(first[name]))]
    if not pictures:
        return ArrowTable(str(path), _texts(path, None))
    names = [name for name in features if name not in pictures]
    # The library loses the rows of a table without columns.
    stored = _texts(path, names) if names else Dataset(pyarrow.table({"row": pyarrow.nulls(file.metadata.num_rows)}))
    rest = ArrowTable(str(path), stored, names)
    columns = PictureColumns(path, Features({name: features[name] for name in pictures}))
    return ParquetTable(rest, columns, list(features))


def _features(path: Path, schema: pyarrow.Schema) -> Features:
    """The library's types of the columns. Raises `DataError` for two of one name, and for a type that it lacks."""
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise DataError([Problem(str(path), twice, "two columns have this name; rename one of them, or remove it")])
    for column in schema:
        try:
            generate_from_arrow_type(column.type)
        except (ValueError, NotImplementedError) as error:
            text = f"`datasets` cannot read the type {column.type}; write a list of objects, or remove the column"
            raise DataError([Problem(str(path), column.name, text)]) from error
    return Features.from_arrow_schema(schema)


def _texts(path: Path, columns: list[str] | None) -> Dataset:
    # The library's cache knows a file by its path and modification time, which copying and unpacking may set back.
    # Nothing can set the change time back, so it is part of the name here. The library reads the path as a pattern,
    # so the path is escaped.
    version = f"changed-{path.stat().st_ctime_ns}"
    return Dataset.from_parquet(glob.escape(str(path)), config_name=version, columns=columns)


def _embeds_first(column: pyarrow.Array) -> bool:
    """Whether the first value of a column contains a picture as text."""
    try:
        return _embeds(column[0].as_py())
    except UnicodeDecodeError:  # named when the row is read
        return False


def _embeds(value: object) -> bool:
    """Whether a value contains a picture as text."""
    if isinstance(value, list):
        return any(_embeds(each) for each in value)
    if isinstance(value, dict):
        return any(_embeds(each) for each in value.values())
    return is_embedded(value)
