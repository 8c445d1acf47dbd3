"""Rows as they are stored, to be written anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Value

from mdpo_readers.cells import Cell

if TYPE_CHECKING:
    from mdpo_readers.pairs import Pairs


class StoredPairs:
    """See `mdpo_core.StoredRows`: a table with all of its columns."""

    def __init__(self, reader: Pairs, table: Dataset) -> None:
        self._options = reader
        columns = list(dict.fromkeys(reader.image_columns()))
        self.embeds_images = not all(_names_files(table.features[column]) for column in columns)
        self._whole = table.remove_columns(columns) if self.embeds_images else table

    def stored(self, index: int) -> dict[str, Any]:
        where = f"{self._options.path} row {index + 1}"
        return {column: _plain(Cell(where, column, value)) for column, value in self._whole[index].items()}

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        row = self._whole[index]
        options = self._options
        columns = {options.responses.get(name, name): text for name, text in responses.items()}
        like = None if options.prompt is not None else row[next(iter(options.responses.values()))]
        changed = {column: _as_stored(row.get(column, like), text, options.prompt) for column, text in columns.items()}
        pictures = {"": options.image, **options.pictures}
        return changed | {column: list(images[name]) for name, column in pictures.items() if column and name in images}

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Pairs:
        options = self._options
        return options.model_copy(
            update={
                "path": str(path),
                "split": "train",
                "images": options.images if images is None else images,
                "responses": {name: options.responses.get(name, name) for name in responses},
                "columns": tuple(columns),
            }
        )


def _names_files(feature: object) -> bool:
    return isinstance(feature, Value) or isinstance(getattr(feature, "feature", None), Value)


def _as_stored(old: object, text: str, prompt: str | None) -> object:
    """A response as the column has it: text, a turn by itself, or the end of a conversation."""
    if not isinstance(old, list) or not old:
        return text
    last = {key: value for key, value in old[-1].items() if value is not None}
    content = "content" if "content" in last else "value"
    parts = [{"type": "text", "text": text}]
    turn = {**last, content: parts if isinstance(last[content], list) else text}
    return [turn] if prompt is not None else [*old[:-1], turn]


def _plain(cell: Cell) -> Any:
    """A value as JSON holds it; a number that is none (NaN) is null, as both say that there is nothing."""
    value = cell.value
    if isinstance(value, Mapping):
        return {key: _plain(cell._replace(value=item)) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(cell._replace(value=item)) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise cell.must_be("a finite number, to be written as JSON")
    if value is None or isinstance(value, str | int | float):
        return value
    raise cell.wrong(f"holds a {type(value).__name__}, which cannot be written as JSON; drop the column")
