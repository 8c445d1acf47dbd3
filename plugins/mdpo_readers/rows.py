"""Rows of preference pairs, decoded when indexed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import PIL.Image
from datasets import Dataset, Image
from datasets import Sequence as ListOf

from mdpo_core import DataError, Example, Problem

if TYPE_CHECKING:
    from mdpo_readers.pairs import Pairs


class PairRows(Sequence[Example]):
    """A memory-mapped table as examples; light to copy into a worker process."""

    def __init__(self, reader: Pairs, table: Dataset) -> None:
        self._reader = reader
        self._table = _undecoded(table, reader.image)

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._example(row)

    def _example(self, row: int) -> Example:
        reader, values = self._reader, self._table[row]
        where = f"{reader.path} row {row + 1}"
        texts = {name: _text(values, column, where) for name, column in reader.responses.items()}
        return Example(
            id=str(row + 1 if reader.id is None else values[reader.id]),
            prompt=_text(values, reader.prompt, where),
            responses=texts,
            images=tuple(self._images(values, where)),
            columns={column: _number(values, column, where) for column in reader.columns},
        )

    def _images(self, values: dict[str, Any], where: str) -> Iterator[PIL.Image.Image]:
        found = values[self._reader.image] if self._reader.image is not None else None
        for value in found if isinstance(found, list) else [found]:
            if value is not None:
                yield self._image(value, where)

    def _image(self, value: Any, where: str) -> PIL.Image.Image:
        column = str(self._reader.image)
        if isinstance(value, dict) and value.get("bytes") is not None:
            return _decode(
                io.BytesIO(value["bytes"]), f"an embedded image of {len(value['bytes'])} bytes", column, where
            )
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str):
            raise DataError([Problem(where, column, f"must be a path or an embedded image, found {value!r}")])
        full = self._inside(path, column, where)
        return _decode(full, str(full), column, where)

    def _inside(self, path: str, column: str, where: str) -> Path:
        """The image's place under the ``images`` folder, which no path may leave."""
        root = self._reader.images.resolve()
        full = (root / path).resolve()
        if not full.is_relative_to(root):
            raise DataError([Problem(where, column, f"'{path}' lies outside of data.images ({self._reader.images})")])
        if not full.is_file():
            text = f"'{self._reader.images / path}' does not exist; is data.images the folder that paths start from?"
            raise DataError([Problem(where, column, text)])
        return full


def _undecoded(table: Dataset, column: str | None) -> Dataset:
    """Images as stored bytes: the reader decodes them itself, to say what is wrong with which."""
    feature = table.features.get(column) if column is not None else None
    if isinstance(feature, Image):
        return table.cast_column(column, Image(decode=False))
    if isinstance(getattr(feature, "feature", None), Image):
        return table.cast_column(column, ListOf(Image(decode=False)))
    return table


def _decode(file: Path | io.BytesIO, name: str, column: str, where: str) -> PIL.Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture that is large enough to exhaust the memory.
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file) as image:
                return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError, Warning) as error:
        reason = "is no image that Pillow can read" if isinstance(error, PIL.UnidentifiedImageError) else str(error)
        if isinstance(file, Path) and file.stat().st_size == 0:
            reason = "is an empty file"
        raise DataError([Problem(where, column, f"'{name}' cannot be used: {reason}")]) from error


def _text(values: dict[str, Any], column: str, where: str) -> str:
    value = values[column]
    if not isinstance(value, str):
        raise DataError([Problem(where, column, f"must be text, found {value!r}")])
    return value


def _number(values: dict[str, Any], column: str, where: str) -> float:
    value = values[column]
    if isinstance(value, bool | int | float):
        return float(value)
    raise DataError([Problem(where, column, f"must be a number, found {value!r}")])
