"""Which named format a table has, by its columns: for messages, never for runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mdpo_core import DataError, DataSummary, count_marks
from mdpo_readers.embedded import is_embedded
from mdpo_readers.formats.lines import Line, Tried, line_for
from mdpo_readers.tables.opening import open_table
from mdpo_readers.tables.table import Table

# How columns with prompts and with pictures are called, the commonest first.
_PROMPTS = ("prompt", "question", "query", "instruction")
_PICTURES = ("img_path", "image", "images", "image_path", "file_name", "image_file", "img", "picture")
_PICTURE_NAME = re.compile(r".+\.(jpe?g|png|webp|bmp|gif|tiff?)", re.IGNORECASE)
_CHOOSE = "COLUMN"  # stands where the user has to choose


class Named(Tried, Protocol):
    """What recognition asks the class of a named reader; see `TableReader`."""

    title: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    also: ClassVar[tuple[str, ...]]

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool: ...
    @classmethod
    def options_for(cls, path: str) -> Mapping[str, str]: ...
    @classmethod
    def tables_in(cls, path: str) -> Sequence[str]: ...


def format_of(path: str, table: Table, readers: Iterable[type[Named]]) -> type[Named] | None:
    """The one of ``readers`` for a table; of several, that which knows most of its columns. None: there is none."""
    columns = table.column_names()
    first = _first_row(table.select(columns))
    fitting = [each for each in set(readers) if each.recognizes(columns, first, Path(path))]
    return max(fitting, key=lambda each: _num_known(each, columns), default=None)


def _num_known(reader: type[Named], columns: Sequence[str]) -> tuple[int, int, str]:
    """How well a reader knows these columns, to be compared; the name decides between equals."""
    known = {*reader.columns, *reader.also}
    return len(known.intersection(columns)), len(reader.columns), reader.component_name()


def _first_row(table: Table) -> Mapping[str, Any]:
    """The first row that can be read; empty if there is none."""
    for number in range(len(table)):
        try:
            return table.row(number)
        except DataError:
            continue
    return {}


def format_line(path: str, table: Table, readers: Iterable[type[Named]]) -> str:
    """The line of a recipe that reads a table, as the end of a message; empty if no format is recognized."""
    found = format_of(path, table, readers)
    if found is None:
        return ""
    return f"; the columns are those of {found.title}: {line_for(found, found.options_for(path), table).text}"


def summary_of(path: str, readers: Iterable[type[Named]], by_columns: type[Tried], count: int) -> DataSummary:
    """What is at ``path``. ``by_columns``: the reader for tables without a known format, whose columns are named."""
    known = list(readers)
    file, *others = next((tables for each in known if (tables := each.tables_in(path))), [path])
    table = open_table(file, "train")
    columns = tuple(table.column_names())
    stored = table.select(columns)
    line = _line(file, table, known, by_columns)
    more = tuple(_line(other, open_table(other, "train"), known, by_columns).text for other in others)
    return DataSummary(line.text, columns, len(table), tuple(_shown_rows(stored, count)), line.first, more)


def _line(path: str, table: Table, readers: Iterable[type[Named]], by_columns: type[Tried]) -> Line:
    found = format_of(path, table, readers)
    if found is not None:
        return line_for(found, found.options_for(path), table)
    columns = table.column_names()
    return line_for(by_columns, {"path": path, **_column_options(columns, _first_row(table.select(columns)))}, table)


def _column_options(columns: Sequence[str], first: Mapping[str, Any]) -> dict[str, Any]:
    """The options that name columns, where they differ from the defaults; COLUMN stands for one to choose."""
    prompt = next((name for name in _PROMPTS if name in columns), _CHOOSE)
    options: dict[str, Any] = {} if prompt == "prompt" else {"prompt": prompt}
    answers = [name for name in ("chosen", "rejected") if name not in columns]
    picture = _picture_column(columns, first)
    if picture != "img_path":
        options["image"] = _CHOOSE if picture is None and (prompt == _CHOOSE or answers) else picture
    if answers:
        options["responses"] = {name: _CHOOSE if name in answers else name for name in ("chosen", "rejected")}
    has_bare_question = isinstance(first.get(prompt), str) and not count_marks(first[prompt])
    return options | ({"marks": "first"} if picture is not None and first.get(picture) and has_bare_question else {})


def _picture_column(columns: Sequence[str], first: Mapping[str, Any]) -> str | None:
    """The column with pictures, by its name or its first value; None if none looks like one."""
    named = next((name for name in _PICTURES if name in columns), None)
    return named or next((name for name in columns if _looks_like_picture(first.get(name))), None)


def _looks_like_picture(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and _looks_like_picture(value[0])
    return is_embedded(value) or (isinstance(value, str) and _PICTURE_NAME.fullmatch(value) is not None)


def _shown_rows(table: Table, count: int) -> Iterator[Mapping[str, Any]]:
    for number in range(min(count, len(table))):
        try:
            yield table.row(number)
        except DataError as error:
            yield {"bad row": str(error)}
