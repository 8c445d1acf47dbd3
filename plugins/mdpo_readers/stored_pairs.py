"""Rows as they are stored, so that commands can write them again with changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from mdpo_core import DataError, Problem, Reader
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.written import meant
from mdpo_readers.pair_columns import PairColumns
from mdpo_readers.tables.table import Table


class StoredPairs:
    """See `mdpo_core.StoredRows`: a table with all of its columns."""

    def __init__(self, columns: PairColumns, table: Table, with_options: Callable[..., Reader]) -> None:
        self._columns = columns
        self._with_options = with_options
        pictures = [column for column in dict.fromkeys(columns.of_images()) if column != columns.video]
        self._table = table.without_embedded(pictures)
        self.embeds_images = self._table is not table

    def stored(self, index: int) -> dict[str, Any]:
        location = self._table.place(index)
        row = self._row(index)
        video = self._columns.video
        # The frames of the video are images, too, and would be written as pictures.
        if video is not None and (self.embeds_images or isinstance(row[video], bytes)):
            message = "cannot be written again: it has a video, which is embedded, or a picture is; store both as files"
            raise DataError([Problem(location, "", message)])
        return {column: _stored(Cell(location, column, value)) for column, value in row.items()}

    def _row(self, index: int) -> dict[str, Any]:
        """A row with what is read of it as it is meant, so that it can be changed."""
        row = self._table.row(index)
        read = {name: row[name] for name in self._columns.names() if name in row}
        return row | meant(read, self._columns.nested())

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        row = self._row(index)
        used = self._columns
        texts = {used.responses.get(name, name): text for name, text in responses.items()}
        conversation = None if used.prompt is not None else row[next(iter(used.responses.values()))]
        changed = {
            column: _as_stored(row.get(column, conversation), text, used.prompt) for column, text in texts.items()
        }
        images_by_name = {"": used.image, **used.other_images}
        return changed | {
            column: list(images[name]) for name, column in images_by_name.items() if column and name in images
        }

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Reader:
        used = self._columns
        return self._with_options(
            path=str(path),
            split="train",
            images=used.images if images is None else images,
            responses={name: used.responses.get(name, name) for name in responses},
            columns=tuple(columns),
        )


def _as_stored(old: object, text: str, prompt: str | None) -> object:
    """A response in the form of the column: text, a single turn, or the last turn of a conversation."""
    if not isinstance(old, list) or not old:
        return text
    last = {key: value for key, value in old[-1].items() if value is not None}
    content = "content" if "content" in last else "value"
    parts = [{"type": "text", "text": text}]
    turn = {**last, content: parts if isinstance(last[content], list) else text}
    return [turn] if prompt is not None else [*old[:-1], turn]


def _stored(cell: Cell) -> Any:
    try:
        return _as_json(cell)
    except RecursionError as error:
        raise cell.wrong("is nested too deeply to be written again; remove the column") from error


def _as_json(cell: Cell) -> Any:
    """The cell's value in types that JSON has; NaN becomes null, since both mean that there is no value."""
    value = cell.value
    if isinstance(value, Mapping):
        return {key: _as_json(cell._replace(value=item)) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(cell._replace(value=item)) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise cell.must_be("a finite number, since JSON has no other")
    if value is None or isinstance(value, str | int | float):
        return value
    raise cell.wrong(f"contains a value of type {type(value).__name__}, which JSON does not have; drop the column")
