"""Some rows of a table that follow one another, to be counted: one by one, or as Arrow holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow

from mdpo_core import DataError, is_shortage

_TOGETHER = 1000  # rows whose values are read in one go

ReadRow = Callable[[int], dict[str, Any]]


class Scanned(ABC):
    """Rows without pictures where these are columns of their own; they are numbered from 0 here."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> Iterator[dict[str, Any] | None]:
        """The values of some rows, by column; None for a row that is bad."""

    def arrow(self) -> pyarrow.Table | None:
        """All rows; null where a row has no value. None if one of them is bad, or if Arrow cannot read them."""
        return None


class OneByOne(Scanned):
    """Rows that are read one by one. ``rows``: their numbers in the table. ``read`` may raise `DataError`."""

    def __init__(self, rows: range, read: ReadRow) -> None:
        self._rows, self._read = rows, read

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: Sequence[int]) -> Iterator[dict[str, Any] | None]:
        for number in numbers:
            try:
                yield self._read(self._rows[number])
            except DataError:
                yield None


class ArrowScanned(OneByOne):
    """Rows that are stored as Arrow's. ``read`` reads a row if the library fails for all of them."""

    def __init__(self, rows: range, read: ReadRow, stored: pyarrow.Table) -> None:
        super().__init__(rows, read)
        self._stored = stored

    def rows(self, numbers: Sequence[int]) -> Iterator[dict[str, Any] | None]:
        for first in range(0, len(numbers), _TOGETHER):
            some = numbers[first : first + _TOGETHER]
            try:
                values: Iterable[dict[str, Any] | None] = self._stored.take(list(some)).to_pylist()
            except Exception as error:  # the library may raise any error for a damaged file
                if is_shortage(error):
                    raise
                values = super().rows(some)
            yield from values

    def arrow(self) -> pyarrow.Table | None:
        try:
            self._stored.validate(full=True)  # texts that are not UTF-8, above all
        except pyarrow.ArrowException:
            return None
        return self._stored
