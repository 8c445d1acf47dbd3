"""Which named format a table has, by its columns: for messages, never for runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mdpo_core import DataError, DataSummary
from mdpo_readers.cell_types import yaml_path
from mdpo_readers.tables.table import Table

_DEFAULTS = {"prompt": "prompt", "image": "img_path"}


class Named(Protocol):
    """What recognition asks the class of a named reader; see `TableReader`."""

    title: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool: ...
    @classmethod
    def recipe_line(cls, path: str) -> str: ...
    @classmethod
    def component_name(cls) -> str: ...


def format_of(path: str, table: Table, readers: Iterable[type[Named]]) -> type[Named] | None:
    """The one of ``readers`` for a table; of several, that which knows most of its columns. None: there is none."""
    columns = table.column_names()
    first = _first_row(table.select(columns))
    fitting = [each for each in set(readers) if each.recognizes(columns, first, Path(path))]
    return max(fitting, key=lambda each: (len(each.columns), each.component_name()), default=None)


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
    return "" if found is None else f"; the columns are those of {found.title}: {found.recipe_line(path)}"


def summary_of(path: str, table: Table, readers: Iterable[type[Named]], count: int) -> DataSummary:
    """What a table contains. Without a known format, the line names the columns that have to be chosen."""
    found = format_of(path, table, readers)
    columns = tuple(table.column_names())
    stored = table.select(columns)
    rows = tuple(_shown_rows(stored, count))
    return DataSummary(
        _pairs_line(path, columns) if found is None else found.recipe_line(path), columns, len(table), rows
    )


def _pairs_line(path: str, columns: Sequence[str]) -> str:
    """A line for the reader `pairs`, which reads these columns by default; COLUMN stands where it does not."""
    absent = {option: f"{option}: COLUMN" for option, name in _DEFAULTS.items() if name not in columns}
    answers = [name for name in ("chosen", "rejected") if name not in columns]
    more = [
        *absent.values(),
        *([f"responses: {{{', '.join(f'{name}: COLUMN' for name in answers)}}}"] if answers else []),
    ]
    return f"data: {{{', '.join(['reader: pairs', f'path: {yaml_path(path)}', *more])}}}"


def _shown_rows(table: Table, count: int) -> Iterator[Mapping[str, Any]]:
    for number in range(min(count, len(table))):
        try:
            yield table.row(number)
        except DataError as error:
            yield {"bad row": str(error)}
