"""Rows of preference pairs, decoded when indexed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from datasets import Dataset, Image, List

from mdpo_core import Example, LazyRows, Prompt
from mdpo_readers import cells, conversations, numbers
from mdpo_readers.cells import Cell
from mdpo_readers.images import images
from mdpo_readers.stored import StoredPairs

if TYPE_CHECKING:
    from mdpo_readers.pairs import Pairs


class PairRows(LazyRows):
    """A memory-mapped table as examples; light to copy into a worker process."""

    def __init__(self, reader: Pairs, table: Dataset) -> None:
        self._reader = reader
        # A folder may have been saved with a format of its own: tensors, or a choice of columns.
        plain = table.with_format(None)
        self.as_stored = StoredPairs(reader, plain)
        self._table = _undecoded(plain.select_columns(reader.used_columns()), reader.image_columns())

    def __len__(self) -> int:
        return len(self._table)

    def row(self, number: int) -> Example:
        reader, values = self._reader, self._table[number]
        where = partial(Cell, f"{reader.path} row {number + 1}")
        cell = {column: where(column, value) for column, value in values.items()}
        prompt, responses = self._texts(cell)
        shown = () if reader.image is None else images(cell[reader.image], reader.images)
        return Example(
            id=str(number + 1) if reader.id is None else cells.name(cell[reader.id]),
            prompt=prompt,
            responses=responses,
            images=shown,
            columns={column: cells.number(cell[column]) for column in reader.columns},
            pictures={name: images(cell[column], reader.images) for name, column in reader.pictures.items()},
            prompts={name: conversations.prompt(cell[column]) for name, column in reader.prompts.items()},
            vectors={name: numbers.vector(cell[column]) for name, column in reader.vectors.items()},
            boxes={name: numbers.boxes(cell[column], shown) for name, column in reader.boxes.items()},
        )

    def _texts(self, cell: Mapping[str, Cell]) -> tuple[Prompt, dict[str, Prompt]]:
        columns = self._reader.responses
        if self._reader.prompt is not None:
            responses = {name: conversations.response(cell[column]) for name, column in columns.items()}
            return conversations.prompt(cell[self._reader.prompt]), responses
        whole = {name: conversations.prompt_and_response(cell[column]) for name, column in columns.items()}
        first, *others = columns
        for name in others:
            if whole[name][0] != whole[first][0]:
                raise cell[columns[name]].wrong(
                    f"the turns before the response differ from those of '{columns[first]}'"
                )
        return whole[first][0], {name: answer for name, (_, answer) in whole.items()}


def _undecoded(table: Dataset, columns: Iterable[str]) -> Dataset:
    """Images as stored bytes: the reader decodes them itself, to say what is wrong with which."""
    for column in columns:
        feature = table.features[column]
        if isinstance(feature, Image):
            table = table.cast_column(column, Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), Image):
            table = table.cast_column(column, List(Image(decode=False)))
    return table
