"""Sequences of examples: rows that are made on demand, a selection of rows, and a random order to search them in."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, overload

from mdpo_core.types.example import Example

_DRAWS = 100  # random draws before the search goes through all rows


class LazyRows(Sequence[Example]):
    """A sequence of rows that are made when they are read. Subclasses implement ``__len__`` and `row`."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def row(self, number: int) -> Example:
        """The row of this number, from 0; equal each time. Raises `DataError` if it is bad."""

    def place(self, number: int) -> str:
        """Where a user finds the row, for messages: ``row 3``, with its file if there is one."""
        return f"row {number + 1}"

    def origin(self, number: int) -> tuple[str, str]:
        """The source of the row in a mixture, and its file; empty if there is none."""
        return "", self.place(number).rpartition("row ")[0].rstrip(" ")

    def num_without_example(self) -> int:
        """How many stored rows make no row here, such as those whose answers are all rated alike."""
        return 0

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self.row(number) for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(number)


def place_in(rows: Sequence[Example], number: int) -> str:
    """Where a user finds a row, for messages: ``pairs.json row 3``, or ``row 3`` of rows that know no file."""
    return rows.place(number) if isinstance(rows, LazyRows) else f"row {number + 1}"


def rows_in_random_order(num_rows: int, rng: random.Random) -> Iterator[int]:
    """Row numbers in which to search: 100 random draws, then every row, starting at a random one.

    They are drawn on demand, and some occur more than once.
    """
    first = rng.randrange(num_rows)
    draws = (rng.randrange(num_rows) for _ in range(_DRAWS))
    # Not a shuffle of all rows: the first draw mostly fits, and looking at a row decodes its image.
    return chain(draws, ((first + step) % num_rows for step in range(num_rows)))


@dataclass(frozen=True)
class Block:
    """Rows of a stream that follow each other.

    ``number``: of the block in the stream, from 0. ``epoch``: the pass over the source, from 0. ``state``: JSON values
    with which `RowStream.blocks` begins at this block again. ``first``: rows before it in the source.
    """

    rows: Sequence[Example]
    number: int
    epoch: int
    state: Mapping[str, Any]
    first: int = 0


class RowStream(ABC):
    """Rows that are read in order, and whose number is not known."""

    @abstractmethod
    def blocks(self, state: Mapping[str, Any] | None = None) -> Iterator[Block]:
        """Blocks without end: after the last row of the source comes the first one again.

        ``state``: that of the block to begin with; None: the first one. The same state gives the same blocks. Raises
        `DataError` if the source cannot be read or has no rows.
        """


class Rows(LazyRows):
    """The rows of ``data`` whose numbers are in ``rows``, in that order; a slice of them is of this kind, too."""

    def __init__(self, data: Sequence[Example], rows: Sequence[int]) -> None:
        self._data = data
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> Example:
        return self._data[self._rows[number]]

    def place(self, number: int) -> str:
        return place_in(self._data, self._rows[number])

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        return Rows(self._data, self._rows[index]) if isinstance(index, slice) else super().__getitem__(index)


@dataclass(frozen=True)
class Joined(LazyRows):
    """The rows of several sequences, one after the other."""

    parts: Sequence[Sequence[Example]]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def row(self, number: int) -> Example:
        part, index = self._at(number)
        return part[index]

    def place(self, number: int) -> str:
        part, index = self._at(number)
        return place_in(part, index)

    def _at(self, number: int) -> tuple[Sequence[Example], int]:
        for part in self.parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(number)
