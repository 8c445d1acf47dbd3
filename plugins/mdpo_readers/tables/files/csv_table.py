"""A CSV or TSV file as a table: all values are text, an empty one is absent."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.other_kinds import require_kind
from mdpo_readers.tables.files.packed_files import kind_of, plain_file
from mdpo_readers.tables.files.spans import Spans
from mdpo_readers.tables.scanned import OneByOne, ReadRow, Scanned
from mdpo_readers.tables.table import Table

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# What separates values in files that are not named for it, and what to do about them.
_OTHERS = {
    ";": "write the file with commas (in a spreadsheet: save as CSV UTF-8, comma delimited)",
    "\t": "name the file .tsv",
    ",": "name the file .csv",
    "|": "write the file with commas",
}
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_BOM = b"\xef\xbb\xbf"
_SCANNED = 1 << 20  # bytes of rows that are counted together
_LARGEST_FIELD = 2**31 - 1  # bytes; Python's own limit is less than a picture in base64


class CsvTable(Table):
    """The rows of a file, which are read from the file itself."""

    def __init__(self, path: Path, columns: Sequence[str], spans: Spans) -> None:
        self._path, self._columns, self._spans = path, columns, spans

    @classmethod
    def of(cls, path: Path) -> CsvTable:
        """The table of a file, whose first line names the columns. Raises `DataError`, with the line of the fault."""
        plain = plain_file(path)
        spans = Spans(plain, path)
        with plain.open("rb") as file:
            require_kind(path, file, "csv")
            _require_separator(path, next(iter(file), b""))
            file.seek(0)
            rows = _rows(path, file)
            first = next(rows, None)
            columns = [] if first is None else first.values
            for row in rows:
                if row.values:
                    spans.add(row.start, row.end, row.line)
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise DataError([Problem(f"{path}:1", "", f"the column {repeated[0]!r} occurs twice")])
        return cls(path, columns, spans)

    def __len__(self) -> int:
        return len(self._spans)

    def scan(self) -> Iterator[Scanned]:
        for rows in self._spans.parts(_SCANNED):
            yield CsvScanned(rows, self.row, self._columns, self._values)

    def _values(self, rows: range) -> Iterable[list[str]]:
        """The values of rows that follow one another; none for an empty line between them."""
        return self._parsed(self._spans.content(rows)[0])

    def _parsed(self, content: bytes) -> Iterator[list[str]]:
        text = io.StringIO(content.decode(), newline="")
        return csv.reader(text, delimiter=SEPARATORS[kind_of(self._path)], strict=True)

    def row(self, number: int) -> dict[str, Any]:
        values = next(self._parsed(self._spans.text(number)))
        if len(values) != len(self._columns):
            message = f"has {len(values)} values, but there are {len(self._columns)} columns"
            raise DataError([Problem(self.place(number), "", message)])
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


class CsvScanned(OneByOne):
    """Rows of a file, whose values make an Arrow table of texts. ``values``: those of rows that follow one another."""

    def __init__(
        self, rows: range, read: ReadRow, columns: Sequence[str], values: Callable[[range], Iterable[list[str]]]
    ) -> None:
        super().__init__(rows, read)
        self._columns, self._values = columns, values

    def arrow(self) -> pyarrow.Table | None:
        found = [values for values in self._values(self._rows) if values]
        if len(found) != len(self) or any(len(values) != len(self._columns) for values in found):
            return None
        columns = ([value or None for value in column] for column in zip(*found, strict=True))
        return pyarrow.table([pyarrow.array(each, pyarrow.string()) for each in columns], list(self._columns))


def _require_separator(path: Path, header: bytes) -> None:
    """Raise `DataError` if the first line has one column by the separator of this kind of file, and more by another."""
    line, own = _text(path, 1, header.removeprefix(_BOM)), SEPARATORS[kind_of(path)]
    if _num_values(line, own) > 1:
        return
    for other, remedy in _OTHERS.items():
        count = _num_values(line, other)
        if count > 1:
            message = f"the values are separated by {other!r}, and not by {own!r}: {count} columns; {remedy}"
            raise DataError([Problem(f"{path}:1", "", message)])


def _num_values(line: str, separator: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=separator, strict=True), []))
    except csv.Error:
        return 0


class _Row(NamedTuple):
    start: int
    end: int
    line: int
    values: list[str]


def _rows(path: Path, file: Iterable[bytes]) -> Iterator[_Row]:
    """The rows of a file with their places, the one with the names of the columns first."""
    csv.field_size_limit(_LARGEST_FIELD)
    texts = _Texts(path, file)
    reader = csv.reader(texts, delimiter=SEPARATORS[kind_of(path)], strict=True)
    start, line = 0, 0
    try:
        for values in reader:
            yield _Row(start, texts.end, line + 1, values)
            start, line = texts.end, reader.line_num
            texts.of_row.clear()
    except csv.Error as error:
        raise DataError([_fault(path, error, texts.of_row, line + 1)]) from error


def _fault(path: Path, error: csv.Error, lines: Sequence[str], first: int) -> Problem:
    """What is wrong with the row of these lines. ``first``: the number of the first of them."""
    opened = _open_quote("".join(lines), SEPARATORS[kind_of(path)])
    if opened is not None:
        last = first + len(lines) - 1
        seen = f" (line {last})" if last != first + opened else ""
        text = f"cannot be read as CSV: {error}{seen}; a text in quotes that begins in this line is not closed by a "
        text += "quote and a separator; close it, and write a quote inside of it twice"
        return Problem(f"{path}:{first + opened}", "", text)
    text = "cannot be read as CSV: a carriage return stands alone, and lines must end with a line feed; save the file "
    text += "with the line ends of Linux or Windows, and write texts with line ends in quotes"
    return Problem(f"{path}:{first + len(lines) - 1}", "", text)


def _open_quote(text: str, separator: str) -> int | None:
    """The line of the first quote, from 0, that opens a value and is not closed where the value ends; None: none."""
    place = 0
    while place < len(text):
        if text[place] == '"':
            closed = _QUOTED.match(text, place)
            if closed is None or text[closed.end() : closed.end() + 1] not in ("", separator, "\r", "\n"):
                return text.count("\n", 0, place)
            place = closed.end()
        ends = [found for each in (separator, "\n") if (found := text.find(each, place)) >= 0]
        place = min(ends, default=len(text)) + 1
    return None


class _Texts:
    """The lines of a file as text. Raises `DataError` if one is not UTF-8.

    ``end``: the bytes that were read. ``of_row``: the lines since it was cleared.
    """

    def __init__(self, path: Path, lines: Iterable[bytes]) -> None:
        self.of_row: list[str] = []
        self._path, self._lines = path, enumerate(lines, start=1)
        self.end = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.end += len(line)
            text = _text(self._path, number, line.removeprefix(_BOM) if number == 1 else line)
            self.of_row.append(text)
            yield text


def _text(path: Path, number: int, line: bytes) -> str:
    if b"\0" in line:
        message = "it contains zero bytes: the file is damaged, or not UTF-8; save it as UTF-8"
        raise DataError([Problem(f"{path}:{number}", "", message)])
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = line[error.start : error.start + 1]
        message = f"{byte!r} is not UTF-8; save the file as UTF-8"
        raise DataError([Problem(f"{path}:{number}", "", message)]) from error
