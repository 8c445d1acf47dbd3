"""A table of the library `datasets`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datasets import Dataset, Image, Value

from mdpo_core import DataError, Problem, is_shortage
from mdpo_readers.embedded import PICTURE_KEYS, has_bytes_of_picture, named_file, names_picture, names_video
from mdpo_readers.tables.scanned import ArrowScanned, OneByOne, Scanned
from mdpo_readers.tables.table import Table

_BATCH = 1000  # rows that are read in one go
_FIRST = 100  # rows that tell whether a column of texts names pictures


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
            if isinstance(error, UnicodeDecodeError):
                byte = error.object[error.start : error.start + 1]
                text = f"{byte!r} is not UTF-8; write the table again, in UTF-8"
                raise DataError([Problem(self.place(number), self._undecodable(number), text)]) from error
            message = f"cannot be read ({type(error).__name__}: {error}); write the table again"
            raise DataError([Problem(self.place(number), "", message)]) from error
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def _undecodable(self, number: int) -> str:
        """The column of a row that is not UTF-8."""
        row = self._table[number]
        for name in row.column_names:
            try:
                row[name].to_pylist()
            except UnicodeDecodeError:
                return str(name)
        return ""

    def scan(self) -> Iterator[Scanned]:
        without = [name for name in self.column_names() if not holds_bytes(self._table.features[name])]
        if not without:
            yield OneByOne(range(len(self)), lambda _: {})
            return
        table = self._table.select_columns(without)
        for start in range(0, len(table), _BATCH):
            rows = range(start, min(start + _BATCH, len(table)))
            try:
                batch = table[start : rows.stop]
            except Exception as error:  # the library may raise any error for a damaged file
                if is_shortage(error):
                    raise
                yield OneByOne(rows, self.row)
                continue
            yield ArrowScanned(rows, self.row, batch)

    def place(self, number: int) -> str:
        return f"{self._name} row {number + 1}"

    def select(self, columns: Sequence[str]) -> ArrowTable:
        there = [name for name in columns if name in self._table.column_names]
        kept = there or self._table.column_names[:1]  # the library loses the rows of a table without columns
        return ArrowTable(self._name, self._table.select_columns(kept), columns)

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> ArrowTable:
        may_be = [name for name in self.column_names() if is_watched(name, True)]
        return self.select([*columns, *(name for name in may_be if is_watched(name, False) or self._shows(name))])

    def _shows(self, column: str) -> bool:
        """Whether a column may have pictures: by its type, or as texts by its first values."""
        feature = self._table.features[column]
        if may_have_pictures(feature):
            return True
        if not contains_paths(feature):
            return False
        try:
            first = self._table.select_columns([column])[:_FIRST].to_pylist()
        except Exception as error:  # the library may raise any error for a damaged file
            if is_shortage(error):
                raise
            return False
        return any(shows_picture(row[column]) for row in first)

    def without_embedded(self, columns: Sequence[str]) -> ArrowTable:
        if all(contains_paths(self._table.features[column]) for column in columns):
            return self
        return ArrowTable(self._name, self._table.remove_columns(list(columns)))

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return [name for name in columns if name not in self.column_names()]

    def column_names(self) -> Sequence[str]:
        names: list[str] = self._table.column_names
        return names if self._selected is None else [name for name in names if name in self._selected]


def may_have_pictures(feature: Any) -> bool:
    """Whether a column may have pictures, by its type: images, bytes, objects with one of these or a path, lists."""
    if isinstance(feature, dict):
        return not set(PICTURE_KEYS).isdisjoint(feature) or any(may_have_pictures(each) for each in feature.values())
    return holds_bytes(feature) or (hasattr(feature, "feature") and may_have_pictures(feature.feature))


def shows_picture(value: object) -> bool:
    """Whether a value of any column is a picture or a video, or names the file of one; or a list of these."""
    if isinstance(value, list):
        return any(map(shows_picture, value))
    name = named_file(value)
    return has_bytes_of_picture(value) or names_picture(name) or names_video(name)


def holds_bytes(feature: Any) -> bool:
    """Whether a column may hold the bytes of pictures."""
    if isinstance(feature, Value):
        return "binary" in feature.dtype
    if isinstance(feature, dict):
        return any(holds_bytes(each) for each in feature.values())
    return isinstance(feature, Image) or holds_bytes(getattr(feature, "feature", {}))


def contains_paths(feature: object) -> bool:
    """Whether a column contains texts or lists of texts, such as the paths of pictures."""
    return isinstance(feature, Value) or isinstance(getattr(feature, "feature", None), Value)
