"""An image folder, as `datasets` reads it: a metadata file names the picture of each row, which lies beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mdpo_core import note_file
from mdpo_readers.cell_types import Cell, shown, text
from mdpo_readers.embedded import named_file
from mdpo_readers.tables.scanned import Scanned
from mdpo_readers.tables.table import Table

METADATA = "metadata"  # the name of the file, without its ending


class ImageFolder(Table):
    """The rows of a metadata file with their pictures: ``file_name`` gives the column ``image``.

    In the same way, ``file_names`` gives ``images``, and ``x_file_name`` and ``x_file_names`` give ``x``.
    """

    def __init__(self, table: Table, folder: Path, selected: Sequence[str] | None = None) -> None:
        self._table, self._folder, self._selected = table, folder, selected
        there = table.column_names()
        found = {_picture_column(name): name for name in there if name.endswith(("file_name", "file_names"))}
        self._sources = {column: name for column, name in found.items() if column not in there}
        self._beside = {column: name for column, name in found.items() if column in there}  # both name pictures

    def __len__(self) -> int:
        return len(self._table)

    def row(self, number: int) -> dict[str, Any]:
        values = self._table.row(number)
        names = self.column_names() if self._selected is None else self._selected
        return {name: self._value(number, name, values) for name in names}

    def scan(self) -> Iterator[Scanned]:
        return self._table.scan()

    def place(self, number: int) -> str:
        return self._table.place(number)

    def of_text_alone(self, number: int) -> bool:
        return self._table.of_text_alone(number)

    def select(self, columns: Sequence[str]) -> ImageFolder:
        return ImageFolder(self._table, self._folder, columns)

    def select_beside(self, columns: Sequence[str], is_watched: Callable[[str, bool], bool]) -> Table:
        if not any(column in self._sources or column in self._beside for column in columns):
            return self._table.select_beside(columns, is_watched)
        named = {source for column, source in self._sources.items() if column in columns}
        beside = [name for name in self.column_names() if name not in named and is_watched(name, True)]
        return self.select(list(dict.fromkeys([*columns, *beside])))

    def without_embedded(self, columns: Sequence[str]) -> Table:
        return self._table if any(column in self._sources for column in columns) else self

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        return self._table.missing([name for name in columns if name not in self._sources])

    def column_names(self) -> Sequence[str]:
        return [*self._sources, *self._table.column_names()]

    def _value(self, number: int, column: str, values: dict[str, Any]) -> Any:
        """The value of a column. Raises `DataError` if its own value and a name beside it are two pictures."""
        if column in self._sources:
            return self._pictures(number, self._sources[column], values)
        own, source = values.get(column), self._beside.get(column)
        named = values.get(source) if source is not None else None
        if source is None or not named or _file_names(named) == _file_names(own):
            return own
        if not own:
            return self._pictures(number, source, values)
        text = f"names {named!r}, and the column '{column}' of the same row has another picture: {shown(own)}; remove "
        raise Cell(self.place(number), source, named).wrong(f"{text}one of the two, or rename the column '{column}'")

    def _pictures(self, number: int, source: str, values: dict[str, Any]) -> Any:
        """The picture or the list of pictures that a row names; None if it names none."""
        cell = Cell(self.place(number), source, values.get(source))
        if isinstance(cell.value, list):
            return [self._picture(cell._replace(value=each)) for each in cell.value]
        return None if cell.value is None else self._picture(cell)

    def _picture(self, cell: Cell) -> dict[str, Any]:
        """The picture of a name, with its bytes. Raises `DataError`."""
        try:
            file = (self._folder / text(cell)).resolve()
            if not file.is_relative_to(self._folder.resolve()):
                raise cell.wrong(f"'{cell.value}' lies outside of the image folder '{self._folder}'")
            note_file(file)
            return {"bytes": file.read_bytes(), "path": None}
        except OSError as error:
            fault = f"'{file}' cannot be read: {error.strerror}; add the picture, or remove the row"
            raise cell.wrong(fault) from error
        except ValueError as error:  # a zero byte
            raise cell.must_be("the name of a picture in the folder of the metadata file") from error


def _file_names(value: Any) -> list[str]:
    """The names of the files of pictures, without their folders."""
    return [PurePosixPath(named_file(each)).name for each in (value if isinstance(value, list) else [value])]


def _picture_column(name: str) -> str:
    if name in ("file_name", "file_names"):
        return "image" if name == "file_name" else "images"
    return name.removesuffix("s").removesuffix("_file_name")
