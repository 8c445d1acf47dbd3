"""Several tables with the same columns, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

from mdpo_readers.tables.scanned import Scanned
from mdpo_readers.tables.table import Table


class JoinedTable(Table):
    """The rows of several files, each named by its own file and its number there."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._ends = list(accumulate(len(table) for table in tables))

    def __len__(self) -> int:
        return self._ends[-1]

    def row(self, number: int) -> dict[str, Any]:
        table, inside = self._place(number)
        return table.row(inside)

    def scan(self) -> Iterator[Scanned]:
        return chain.from_iterable(table.scan() for table in self._tables)

    def place(self, number: int) -> str:
        table, inside = self._place(number)
        return table.place(inside)

    def of_text_alone(self, number: int) -> bool:
        table, inside = self._place(number)
        return table.of_text_alone(inside)

    def select(self, columns: Sequence[str]) -> JoinedTable:
        return JoinedTable([table.select(columns) for table in self._tables])

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> JoinedTable:
        return JoinedTable([table.select_beside(columns, is_watched) for table in self._tables])

    def without_embedded(self, columns: Sequence[str]) -> Table:
        without = [table.without_embedded(columns) for table in self._tables]
        same = all(one is other for one, other in zip(without, self._tables, strict=True))
        return self if same else JoinedTable(without)

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        known = {name for table in self._tables for name in set(columns) - {*table.missing(columns)}}
        return [name for name in columns if name not in known]

    def column_names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for table in self._tables for name in table.column_names()))

    def _place(self, number: int) -> tuple[Table, int]:
        which = bisect_right(self._ends, number)
        return self._tables[which], number - (self._ends[which - 1] if which else 0)
