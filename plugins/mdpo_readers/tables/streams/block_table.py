"""The rows of a stream's block as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.table import Table


class StoredRow(NamedTuple):
    """A row as it is stored: values by column, or a line of JSON. ``place``: its file and number, for messages."""

    place: str
    stored: dict[str, Any] | bytes


class BlockTable(Table):
    """Rows that follow each other. ``first``: the number of the first one, from 0.

    Only the first block tells which columns are missing; in later ones each row is named by itself.
    """

    def __init__(self, rows: Sequence[StoredRow], first: int, selected: Sequence[str] | None = None) -> None:
        self._rows, self.first, self._selected = rows, first, selected

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> dict[str, Any]:
        place, stored = self._rows[number]
        try:
            values = values_of(stored) if isinstance(stored, bytes) else stored
        except BadRow as fault:
            text = f"cannot be read as json: {fault}; a stream has one JSON object on each line"
            raise DataError([Problem(place, "", text)]) from fault
        return dict(values) if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        return self._rows[number].place

    def select(self, columns: Sequence[str]) -> BlockTable:
        return BlockTable(self._rows, self.first, columns)

    def without_embedded(self, columns: Sequence[str]) -> BlockTable:
        return self

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        if self.first:
            return ()
        there = {name for each in self._names() for name in each or columns}  # a bad row may have any column
        return [name for name in columns if name not in there]

    def column_names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for each in self._names() for name in each or ()))

    def _names(self) -> list[Sequence[str] | None]:
        """The columns of each row; None for a bad one, which is named when it is read."""
        found: list[Sequence[str] | None] = []
        for number in range(len(self)):
            try:
                found.append(list(self.row(number)))
            except DataError:
                found.append(None)
        return found
