"""Rows that are made when they are asked for, and an order to ask for them in."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import overload

from mdpo_core.types.example import Example

_DRAWS = 100


class LazyRows(Sequence[Example]):
    """What a reader opens: say how many rows there are and what one of them is; it makes a sequence of that."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def row(self, number: int) -> Example:
        """A row, by its number from 0, the same one each time."""

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


def rows_in_random_order(num_rows: int, rng: random.Random) -> Iterator[int]:
    """Numbers of rows to look for a fit one in: random draws, and where few are fit, all rows from a random one on.

    They are drawn as they are asked for, and some come up more than once.
    """
    first = rng.randrange(num_rows)
    draws = (rng.randrange(num_rows) for _ in range(_DRAWS))
    # Not a shuffle of all rows: most often the first draw is fit, and whoever looks at a row decodes its picture.
    return chain(draws, ((first + step) % num_rows for step in range(num_rows)))


class Rows(Sequence[Example]):
    """Some rows of some data."""

    def __init__(self, data: Sequence[Example], rows: Sequence[int]) -> None:
        self._data = data
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Rows(self._data, self._rows[index])
        return self._data[self._rows[index]]
