"""Some rows of a table, such as those of a slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mdpo_readers.tables.table import Table


class PartTable(Table):
    """The rows of a table whose numbers are in ``rows``, from 0; each keeps its place in the file."""

    def __init__(self, table: Table, rows: range) -> None:
        self._table, self._rows = table, rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> dict[str, Any]:
        return self._table.row(self._rows[number])

    def place(self, number: int) -> str:
        return self._table.place(self._rows[number])

    def of_text_alone(self, number: int) -> bool:
        return self._table.of_text_alone(self._rows[number])

    def select(self, columns: Sequence[str]) -> PartTable:
        return PartTable(self._table.select(columns), self._rows)

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> PartTable:
        return PartTable(self._table.select_beside(columns, is_watched), self._rows)

    def without_embedded(self, columns: Sequence[str]) -> Table:
        without = self._table.without_embedded(columns)
        return self if without is self._table else PartTable(without, self._rows)

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return self._table.missing(columns)

    def column_names(self) -> Sequence[str]:
        return self._table.column_names()
