"""Which named format a table has, by its columns: for messages, never for runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mdpo_core import DataError
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.tables.table import Table


def format_of(path: str, table: Table) -> type[TableReader] | None:
    """The named reader for a table; of several, that which knows most of its columns. None if there is none."""
    columns = table.column_names()
    try:
        first = table.row(0)
    except DataError:
        return None
    readers: set[type[TableReader]] = set(_subclasses(TableReader))  # type: ignore[type-abstract]  # of its subclasses
    fitting = [each for each in readers if each.recognizes(columns, first, Path(path))]
    return max(fitting, key=lambda each: (len(each.columns), each.component_name()), default=None)


def format_line(path: str, table: Table) -> str:
    """The line of a recipe that reads a table, as the end of a message; empty if no format is recognized."""
    found = format_of(path, table)
    if found is None:
        return ""
    return f"; the columns are those of {found.title}: {found.recipe_line(path)}"


def _subclasses(cls: type[TableReader]) -> Iterator[type[TableReader]]:
    for each in cls.__subclasses__():
        if not getattr(each, "__abstractmethods__", None):
            yield each
        yield from _subclasses(each)
