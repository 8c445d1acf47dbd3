"""A table whose rows are objects: each has its own columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from mdpo_core import DataError, Problem, by_frequency
from mdpo_readers.tables.table import Table

_SHOWN = 20  # faults in an error; the rest are counted


class LooseTable(Table):
    """Finds the columns by looking at the rows."""

    @abstractmethod
    def described(self, number: int) -> dict[str, Any]:
        """A row with all columns, those with pictures empty. Raises `DataError` if it cannot be read."""

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        seen: set[str] = set()
        problems: list[Problem] = []
        for number in range(len(self)):
            try:
                seen.update(self.described(number))
            except DataError as error:
                problems += error.problems
            if seen.issuperset(columns):
                return ()
        if problems:
            problems = by_frequency([[each] for each in problems])
            rest = [Problem("", "", f"... and {len(problems) - _SHOWN} more")] if len(problems) > _SHOWN else []
            raise DataError(problems[:_SHOWN] + rest)
        return [name for name in columns if name not in seen]

    def column_names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for row in self._readable() for name in row))

    def _readable(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            try:
                yield self.described(number)
            except DataError:  # named when the row is read
                continue
