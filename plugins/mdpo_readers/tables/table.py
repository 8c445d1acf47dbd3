"""Tables: rows of named values; a row is read when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, Image, Value

from mdpo_core import DataError, Problem, is_shortage


class Table(ABC):
    """Rows as they are stored; cheap to copy into a worker process."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def row(self, number: int) -> dict[str, Any]:
        """The values of a row, from 0, by column. Raises `DataError` if it cannot be read."""

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


class ArrowTable(Table):
    """A memory-mapped table of `datasets`. ``name``: its source, for messages."""

    def __init__(self, name: str, table: Dataset, selected: Sequence[str] | None = None) -> None:
        self._name, self._selected = name, selected
        # As they are stored, images too: a reader decodes them, so that errors name the image. A saved folder may have
        # a format that converts values to tensors or hides columns.
        self._table = table.with_format("arrow")

    def __len__(self) -> int:
        return len(self._table)

    def row(self, number: int) -> dict[str, Any]:
        try:
            values: dict[str, Any] = self._table[number].to_pylist()[0]
        except Exception as error:  # the library may raise any error for a damaged file
            if is_shortage(error):
                raise
            message = f"cannot be read ({type(error).__name__}: {error}); write the table again"
            raise DataError([Problem(self.place(number), "", message)]) from error
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        return f"{self._name} row {number + 1}"

    def select(self, columns: Sequence[str]) -> ArrowTable:
        there = [name for name in columns if name in self._table.column_names]
        return ArrowTable(self._name, self._table.select_columns(there), columns)

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> ArrowTable:
        features = self._table.features
        return self.select([*columns, *(name for name in features if is_watched(name, _has_pictures(features[name])))])

    def without_embedded(self, columns: Sequence[str]) -> ArrowTable:
        if all(_contains_paths(self._table.features[column]) for column in columns):
            return self
        return ArrowTable(self._name, self._table.remove_columns(list(columns)))

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return [name for name in columns if name not in self._table.column_names]

    def column_names(self) -> Sequence[str]:
        names: list[str] = self._table.column_names
        return names


def _has_pictures(feature: object) -> bool:
    return isinstance(feature, Image) or isinstance(getattr(feature, "feature", None), Image)


def _contains_paths(feature: object) -> bool:
    return isinstance(feature, Value) or isinstance(getattr(feature, "feature", None), Value)
