"""Streams of rows: `datasets` reads files, folders or the hub in order, and says where to go on."""

from __future__ import annotations

import copy
import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets import IterableDataset

from mdpo_core import Block, DataError, LazyRows, Problem, RowStream, is_shortage
from mdpo_readers.tables import braces
from mdpo_readers.tables.datasets_library import quiet
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.files.packed_files import kind_of
from mdpo_readers.tables.hub import HubOptions
from mdpo_readers.tables.shards import matching, shards_in
from mdpo_readers.tables.splits import Split
from mdpo_readers.tables.table import Table

_LINES = (".jsonl", ".ndjson")
KINDS = (*_LINES, ".parquet")
_TEXT = "text"  # the column of the library's lines

Source = Callable[[], IterableDataset]


class TableStream(RowStream):
    """The rows of a source, in blocks of ``size``.

    ``name``: the source in messages. ``source`` opens it at its beginning. ``rows_of`` makes examples from the table of
    a block.
    """

    def __init__(self, name: str, source: Source, size: int, rows_of: Callable[[Table], LazyRows]) -> None:
        self._name, self._open = name, source
        self._size, self._rows_of = size, rows_of

    def blocks(self, state: Mapping[str, Any] | None = None) -> Iterator[Block]:
        where: dict[str, Any] = {"number": 0, "epoch": 0, "row": 0, "source": None}
        where |= state or {}
        while True:
            yield from self._of_one_pass(where)
            where |= {"epoch": where["epoch"] + 1, "row": 0, "source": None}

    def _of_one_pass(self, where: dict[str, Any]) -> Iterator[Block]:
        """The blocks up to the end of the source. ``where`` is kept up to date."""
        with self._read(where["row"]):
            source = self._open()
            if where["source"] is not None:
                source.load_state_dict(copy.deepcopy(where["source"]))
            rows = iter(source)
        while found := self._next_rows(rows, where["row"]):
            table = BlockTable(self._name, found, where["row"])
            yield Block(self._rows_of(table), where["number"], where["epoch"], dict(where), where["row"])
            # Not a copy of the library's own state, which goes on.
            after = json.loads(json.dumps(source.state_dict()))
            where |= {"number": where["number"] + 1, "row": where["row"] + len(found), "source": after}
        if where["row"] == 0:
            raise DataError([Problem(self._name, "", "there are no rows")])

    def _next_rows(self, rows: Iterator[Any], first: int) -> list[Any]:
        with self._read(first):
            return list(islice(filter(_is_row, map(_stored, rows)), self._size))

    @contextmanager
    def _read(self, first: int) -> Iterator[None]:
        """Says where the library failed."""
        try:
            with quiet():
                yield
        except Exception as error:  # the library may raise any error for a damaged file
            if is_shortage(error):
                raise
            reason = " ".join(str(error.__cause__ or error).split())
            raise DataError([Problem(f"{self._name}, after row {first}", "", f"cannot be read: {reason}")]) from error


class BlockTable(Table):
    """Rows of a stream: lines of JSON, or values by column. ``first``: the number of the first one, from 0."""

    def __init__(self, name: str, rows: Sequence[Any], first: int, selected: Sequence[str] | None = None) -> None:
        self._name, self._rows, self.first, self._selected = name, rows, first, selected

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> dict[str, Any]:
        stored = self._rows[number]
        try:
            values = values_of(stored.encode(errors="surrogateescape")) if isinstance(stored, str) else stored
        except BadRow as fault:
            raise DataError([Problem(self.place(number), "", f"cannot be read as json: {fault}")]) from fault
        return dict(values) if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        return f"{self._name} row {self.first + number + 1}"

    def select(self, columns: Sequence[str]) -> BlockTable:
        return BlockTable(self._name, self._rows, self.first, columns)

    def without_embedded(self, columns: Sequence[str]) -> BlockTable:
        return self

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        names = self._names()
        there = {name for each in names for name in each or columns}  # a bad row may have any column
        return [name for name in columns if name not in there]

    def column_names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for each in self._names() for name in each or ()))

    def _names(self) -> list[Sequence[str] | None]:
        """The columns of each row; None for a bad one, which is named when it is read."""
        found: list[Sequence[str] | None] = []
        for number in range(len(self)):
            try:
                found.append(list(self.row(number)))
            except DataError:
                found.append(None)
        return found


def _stored(row: Any) -> Any:
    """A line of JSON, or the values of a row of Arrow."""
    return row[_TEXT] if isinstance(row, dict) else row.to_pylist()[0]


def _is_row(stored: Any) -> bool:
    """Whether it is no empty line."""
    return not isinstance(stored, str) or bool(stored.strip())


def source_of(path: str | Sequence[str], split: str, hub: HubOptions) -> Source:
    """What opens the source at its beginning. Raises `DataError` if it cannot be streamed.

    ``path``: a file, a pattern of files, a folder of files, a name on the hub, or a list of files.
    """
    chosen = Split.of(split)
    if chosen.rows(10) != range(10):
        text = f"a slice, {split}, needs the number of rows, which a stream does not have"
        raise DataError([Problem("data.split", "", text)])
    files = [file for each in ([path] if isinstance(path, str) else path) for file in _files(each, split)]
    if not files:
        return lambda: _opened(path, chosen.name, name=hub.config, revision=hub.revision).with_format("arrow")
    kinds = {kind_of(file) for file in files}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        text = f"{', '.join(sorted(kinds))} cannot be streamed; write {' or '.join(KINDS)}, all files of one kind"
        raise DataError([Problem(str(files[0]), "", text)])
    names = [glob.escape(str(file)) for file in files]  # the library reads a path as a pattern
    if kinds == {".parquet"}:
        return lambda: _opened("parquet", data_files=names).with_format("arrow")
    # Lines, not its own JSON: it would change values so that all rows have the same types.
    return lambda: _opened(_TEXT, data_files=names, encoding_errors="surrogateescape")


def _opened(path: object, split: str = "train", **options: Any) -> IterableDataset:
    return datasets.load_dataset(path, split=split, streaming=True, **options)


def _files(path: str, split: str) -> list[Path]:
    """The files of the source; none for a name on the hub."""
    location = Path(path)
    if location.is_file():
        return [location]
    if location.is_dir():
        return shards_in(location, split, KINDS) or _absent(path)
    if braces.are_in(path):
        return [file for each in braces.expanded(path) for file in _files(each, split)]
    if glob.has_magic(path):
        return matching(path, split)
    return [] if path.count("/") == 1 and not location.parent.is_dir() else _absent(path)


def _absent(path: str) -> list[Path]:
    raise DataError([Problem(path, "", f"there is no such file, and no folder with {', '.join(KINDS)}")])
