"""A JSON file as a table: a list of rows, or a row on each line. A row is parsed when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.arrow_json import ArrowJson
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.files.json_split import ROWS_ARE, row_and_line, split_file
from mdpo_readers.tables.files.line_spans import line_spans
from mdpo_readers.tables.files.loose_table import LooseTable
from mdpo_readers.tables.files.packed_files import plain_file
from mdpo_readers.tables.files.spans import Spans
from mdpo_readers.tables.scanned import OneByOne, ReadRow, Scanned

_SCANNED = 1 << 20  # bytes of rows that are parsed together; with more, Arrow takes longer for each


class JsonTable(LooseTable):
    """The rows of a file, which are read from the file itself. ``own_lines``: whether each row is one line."""

    def __init__(self, path: Path, spans: Spans, own_lines: bool, selected: Sequence[str] | None = None) -> None:
        self._path, self._spans, self._own_lines = path, spans, own_lines
        self._selected = selected

    @classmethod
    def of(cls, path: Path) -> JsonTable:
        """The table of a file. Raises `DataError`."""
        plain = plain_file(path)
        spans = Spans(plain, path)
        with plain.open("rb") as file:
            rows = split_file(file, path)
            if rows is None:
                for block in line_spans(file):
                    spans.add_lines(block)
            else:
                for row in rows:
                    spans.add(*row)
        return cls(path, spans, own_lines=rows is None)

    def __len__(self) -> int:
        return len(self._spans)

    def row(self, number: int) -> dict[str, Any]:
        try:
            values = values_of(self._spans.text(number))
        except BadRow as fault:
            raise DataError([self._problem(number, fault)]) from fault
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        return f"{self._path} row {number + 1}"

    def select(self, columns: Sequence[str]) -> JsonTable:
        return JsonTable(self._path, self._spans, self._own_lines, columns)

    def without_embedded(self, columns: Sequence[str]) -> JsonTable:
        return self

    def described(self, number: int) -> dict[str, Any]:
        return self.row(number)

    def scan(self) -> Iterator[Scanned]:
        reading = ArrowJson()
        for rows in self._spans.parts(_SCANNED):
            yield JsonScanned(rows, self.row, self._spans, reading, self._own_lines)

    def _problem(self, number: int, fault: BadRow) -> Problem:
        line = self._spans.line(number) + (fault.line or 0) if fault.line is not None or self._own_lines else None
        location = row_and_line(self.place(number), number, line)
        return Problem(location, "", f"cannot be read as json: {fault}{ROWS_ARE}")


class JsonScanned(OneByOne):
    """Rows of a file; Arrow parses them, too. ``own_lines``: whether each row is one line."""

    def __init__(self, rows: range, read: ReadRow, spans: Spans, reading: ArrowJson, own_lines: bool) -> None:
        super().__init__(rows, read)
        self._spans, self._reading, self._own_lines = spans, reading, own_lines

    def arrow(self) -> pyarrow.Table | None:
        if not self._own_lines:
            return self._reading.table(self._spans.texts(self._rows))
        return self._reading.lines(*self._spans.content(self._rows))
