"""The rows of an answer file: JSON, JSON lines, or a table with a header, in a spreadsheet or as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core.benchmarking.sheets import sheet_rows
from mdpo_core.errors import DataError, Problem, absent, first_line

_SEPARATORS = {".tsv": "\t", ".csv": ","}
_SHEET, _OLD_SHEET = ".xlsx", ".xls"


class StoredRow(NamedTuple):
    """A row of a file, and its place for errors: a line, or a number from 1."""

    where: str
    values: dict[str, Any]


def read_rows(path: Path) -> list[StoredRow]:
    """The rows of a file, in order. Raises `DataError` if it is missing, empty or cannot be read."""
    if not path.is_file():
        raise DataError(absent(path))
    rows = _of_sheet(path) if path.suffix in (_SHEET, _OLD_SHEET) else _of_text(path)
    if not rows:
        raise DataError([Problem(path.name, "", "the file has no rows")])
    return rows


def _of_sheet(path: Path) -> list[StoredRow]:
    if path.suffix == _OLD_SHEET:
        raise DataError(f"{path.name}: spreadsheets of this old kind are not read; save it as .xlsx, or as .tsv")
    return [StoredRow(f"{path.name} row {number}", values) for number, values in sheet_rows(path)]


def _of_text(path: Path) -> list[StoredRow]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError([Problem(path.name, "", f"is not UTF-8: {first_line(error)}; save it as UTF-8")]) from error
    return list(_table(path, text) if path.suffix in _SEPARATORS else _json(path.name, text))


def _table(path: Path, text: str) -> Iterator[StoredRow]:
    csv.field_size_limit(2**31 - 1)  # pictures in base64
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_SEPARATORS[path.suffix], strict=True)
    for number, values in enumerate(reader, 1):
        where = f"{path.name} row {number}"
        if None in values or None in values.values():
            raise DataError([Problem(where, "", f"has another number of columns than the header: {reader.fieldnames}")])
        yield StoredRow(where, dict(values))


def _json(name: str, text: str) -> Iterator[StoredRow]:
    """The rows of a JSON list, or of lines of JSON; the content tells, since both are called .json."""
    if text.lstrip().startswith("["):
        for number, values in enumerate(_parsed(name, text), 1):
            yield _row(f"{name} row {number}", values)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{name}:{number}"
            yield _row(where, _parsed(where, line))


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError([Problem(where, "", f"is not JSON: {first_line(error)}")]) from error


def _row(where: str, values: Any) -> StoredRow:
    if not isinstance(values, dict):
        raise DataError([Problem(where, "", f"is not an object with keys, but {str(values)[:40]!r}")])
    return StoredRow(where, values)
