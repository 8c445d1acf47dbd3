"""A JSON file that is one object of lists by number, such as the id of an image: the objects in the lists are rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mdpo_core import DataError
from mdpo_readers.cell_types import KEY
from mdpo_readers.tables.files.json_table import JsonTable
from mdpo_readers.tables.files.loose_table import LooseTable


class KeyedTable(LooseTable):
    """The rows in the lists, one list after the other. Each process parses the file once.

    A row has its list's number as text in the column ``key``, unless it has such a column itself.
    """

    def __init__(self, table: JsonTable, path: str, selected: Sequence[str] | None = None) -> None:
        """``table``: the file as a table of one row."""
        self._table, self._path, self._selected = table, path, selected

    def __len__(self) -> int:
        return len(self._places)

    def row(self, number: int) -> dict[str, Any]:
        key, place = self._places[number]
        values = {KEY: key, **self._lists[key][place]}
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        key, place = self._places[number]
        return f"{self._path} row {number + 1}, which is number {place + 1} of '{key}'"

    def select(self, columns: Sequence[str]) -> KeyedTable:
        return KeyedTable(self._table, self._path, columns)

    def without_embedded(self, columns: Sequence[str]) -> KeyedTable:
        return self

    def described(self, number: int) -> dict[str, Any]:
        return self.row(number)

    @cached_property
    def _lists(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return self._table.row(0)

    @cached_property
    def _places(self) -> Sequence[tuple[str, int]]:
        return [(key, place) for key, rows in self._lists.items() for place in range(len(rows))]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lists", "_places")}


def with_keys(table: JsonTable, path: str) -> JsonTable | KeyedTable:
    """The rows in the lists of a file that is one object of lists by number; the table itself if it is none."""
    try:
        only = table.row(0) if len(table) == 1 else {}
    except DataError:  # named when the row is read
        return table
    is_keyed = any(only.values()) and all(key.isdigit() and _holds_rows(rows) for key, rows in only.items())
    return KeyedTable(table, path) if is_keyed else table


def _holds_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)
