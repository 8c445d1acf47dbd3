"""Split a JSON file into the spans of its rows. A fault inside a row stays in its span; others refuse the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.line_spans import BOM
from mdpo_readers.tables.files.other_kinds import require_kind, require_utf8

ROWS_ARE = "; rows are JSON objects: one list of them, or one on each line"
_SPACE = re.compile(r"[ \t\r\n]*")
# Finds the ends of values, in spite of odd characters, bytes that are not UTF-8, and large numbers.
_DECODER = json.JSONDecoder(strict=False, parse_int=float)
_ODD_BYTES = "surrogateescape"
_OTHER_KINDS = ((rb"PAR1", "a Parquet file; name it .parquet"), (rb"<", "XML or a web page; download the file itself"))


class RowSpan(NamedTuple):
    """The first and the (exclusive) last byte of a row, and the line of the file in which it begins, from 1."""

    start: int
    end: int
    line: int


def split_file(file: IO[bytes], path: Path) -> Iterator[RowSpan] | None:
    """The rows of an open file, which messages name ``path``; None if each line from its start on is a row.

    Raises `DataError`, also while the rows are read, if it is not JSON, or if it is unclear where rows begin and end.
    """
    require_json(path, file)
    first = next((line for line in file if line.removeprefix(BOM).strip()), b"").removeprefix(BOM).strip()
    has_more = any(line.strip() for line in file)
    file.seek(0)
    if first.startswith(b"[") and not (has_more and _is_json(first)):
        return _values(path, file.read(), in_list=True)
    if not _is_json(first):
        if _begins_with_value(_decoded(content := file.read())):
            return _values(path, content, in_list=False)
        file.seek(0)
    return None


def row_and_line(place: str, number: int, line: int | None) -> str:
    """The place of a row, and the line of a fault in it, where that is another number. ``number``: from 0."""
    return place if line is None or line == number + 1 else f"{place}, line {line}"


def require_json(path: Path, file: IO[bytes]) -> None:
    """Raise `DataError` if an open file begins like one of another kind; it is read from its start again."""
    require_kind(path, file, "json", _OTHER_KINDS)
    require_utf8(path, file, "json")


def _decoded(content: bytes) -> str:
    # Without the last line break, a fault at the end is in the last line.
    return content.removeprefix(BOM).rstrip().decode(errors=_ODD_BYTES)


def _is_json(line: bytes) -> bool:
    try:
        _DECODER.decode(line.decode(errors=_ODD_BYTES))
    except (ValueError, RecursionError):
        return False
    return True


def _begins_with_value(text: str) -> bool:
    """Whether a text begins with a value, which may take several lines, or be followed by others on its line."""
    try:
        _DECODER.raw_decode(text, _after_space(text, 0))
    except (ValueError, RecursionError):
        return False
    return True


def _after_space(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    assert match is not None  # it also matches an empty text
    return match.end()


def _values(path: Path, content: bytes, in_list: bool) -> Iterator[RowSpan]:
    """The values of a list, or of a text in which values follow one another."""
    line, counted, row = 1, 0, 0
    at = len(BOM) if content.startswith(BOM) else 0  # the byte of the character ``counted``
    text = _decoded(content)
    del content
    try:
        for start, end in _in_list(text) if in_list else _in_sequence(text):
            line, at = line + text.count("\n", counted, start), at + _size(text, counted, start)
            counted, row = start, row + 1
            yield RowSpan(at, at + _size(text, start, end), line)
    except json.JSONDecodeError as error:
        location = row_and_line(f"{path} row {row + 1}", row, error.lineno)
        reason = f"{error.msg} in column {error.colno}"
        raise DataError([Problem(location, "", f"cannot be read as json: {reason}{ROWS_ARE}")]) from error
    except RecursionError as error:
        raise DataError(
            [Problem(f"{path} row {row + 1}", "", "cannot be read as json: it is nested too deeply")]
        ) from error


def _size(text: str, start: int, end: int) -> int:
    """The number of bytes of a part of a text."""
    return end - start if text.isascii() else len(text[start:end].encode(errors=_ODD_BYTES))


def _in_list(text: str) -> Iterator[tuple[int, int]]:
    """The start and the end of each value in a list; the end is exclusive."""
    index = _after_space(text, text.index("[") + 1)
    closed = text.startswith("]", index)
    while not closed:
        _, end = _DECODER.raw_decode(text, index)
        yield index, end
        index = _after_space(text, end)
        closed = text.startswith("]", index)
        if not closed and not text.startswith(",", index):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, index)
        index = index if closed else _after_space(text, index + 1)
    rest = _after_space(text, index + 1)
    if rest < len(text):
        raise json.JSONDecodeError("Extra data after the list", text, rest)


def _in_sequence(text: str) -> Iterator[tuple[int, int]]:
    """The start and the (exclusive) end of each value in a text; only space separates the values."""
    index = _after_space(text, 0)
    while index < len(text):
        _, end = _DECODER.raw_decode(text, index)
        yield index, end
        index = _after_space(text, end)
