"""A CSV or TSV file as a table: all values are text, an empty one is absent."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mdpo_core import DataError, Problem
from mdpo_readers.tables.packed_files import kind_of, unpacked
from mdpo_readers.tables.table import Table

SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BOM = b"\xef\xbb\xbf"
_LARGEST_FIELD = 2**31 - 1  # bytes; Python's own limit is less than a picture in base64


class CsvTable(Table):
    """The rows of a file, in memory. Raises `DataError` with the line if the file is not UTF-8 or a row is uneven."""

    def __init__(self, path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._path, self._columns, self._rows = path, columns, rows

    @classmethod
    def of(cls, path: Path) -> CsvTable:
        """The table of a file, whose first line names the columns."""
        lines = _lines(path)
        columns = next(lines, [])
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise DataError([Problem(f"{path}:1", "", f"the column {repeated[0]!r} occurs twice")])
        return cls(path, columns, [row for row in lines if row])

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> dict[str, Any]:
        values = self._rows[number]
        if len(values) != len(self._columns):
            text = f"has {len(values)} values, but there are {len(self._columns)} columns"
            raise DataError([Problem(self.place(number), "", text)])
        return {name: value or None for name, value in zip(self._columns, values, strict=True)}

    def place(self, number: int) -> str:
        return f"{self._path} row {number + 1}"

    def of_text_alone(self, number: int) -> bool:
        return True

    def select(self, columns: Sequence[str]) -> CsvTable:
        return self

    def without_embedded(self, columns: Sequence[str]) -> CsvTable:
        return self

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return [name for name in columns if name not in self._columns]

    def column_names(self) -> Sequence[str]:
        return self._columns


def _lines(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(_LARGEST_FIELD)
    with unpacked(path) as packed:
        reader = csv.reader(_texts(path, packed), delimiter=SEPARATORS[kind_of(path)], strict=True)
        try:
            yield from reader
        except csv.Error as error:
            raise DataError([Problem(f"{path}:{reader.line_num}", "", f"cannot be read as CSV: {error}")]) from error


def _texts(path: Path, lines: Iterable[bytes]) -> Iterator[str]:
    """The lines as text. Raises `DataError` with the first that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            text = line.removeprefix(_BOM).decode() if number == 1 else line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start : error.start + 1]
            message = f"{byte!r} is not UTF-8; save the file as UTF-8"
            raise DataError([Problem(f"{path}:{number}", "", message)]) from error
        if "\0" in text:
            message = "it contains zero bytes: the file is damaged, or not UTF-8"
            raise DataError([Problem(f"{path}:{number}", "", message)])
        yield text
