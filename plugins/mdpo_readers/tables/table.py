"""Tables: rows of named values; a row is read when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mdpo_readers.tables.scanned import OneByOne, Scanned


class Table(ABC):
    """Rows as they are stored; cheap to copy into a worker process.

    ``first``: the number of its first row in the source, from 0.
    """

    first: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def row(self, number: int) -> dict[str, Any]:
        """The values of a row, from 0, by column. Raises `DataError` if it cannot be read."""

    def scan(self) -> Iterator[Scanned]:
        """All rows in order, without pictures where these are columns of their own."""
        yield OneByOne(range(len(self)), self.row)

    @abstractmethod
    def place(self, number: int) -> str:
        """Where a user finds a row, such as ``pairs.json row 3``; ``number`` counts from 0."""

    def of_text_alone(self, number: int) -> bool:
        """Whether all values of a row are text, numbers too, as in CSV."""
        return False

    @abstractmethod
    def select(self, columns: Sequence[str]) -> Table:
        """The same rows with these columns; a column that a row does not have is None."""

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> Table:
        """The same rows with ``columns``, and the columns beside them that are watched, or cost nothing to read.

        ``is_watched`` takes a column, and whether its type is that of pictures.
        """
        return self

    @abstractmethod
    def without_embedded(self, columns: Sequence[str]) -> Table:
        """The rows without ``columns`` if one of them contains embedded images; this table if all contain paths."""

    @abstractmethod
    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        """The names in ``columns`` that no row has. Raises `DataError` if a bad row may contain one of them."""

    @abstractmethod
    def column_names(self) -> Sequence[str]:
        """All columns."""
