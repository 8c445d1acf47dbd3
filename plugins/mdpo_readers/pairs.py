"""The `pairs` reader: its options, and the checks before a row is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator, model_validator

from mdpo_core import DataError, ExampleField, ImageOptions, Problem, Reader, suggestion
from mdpo_readers.cell_types import shown
from mdpo_readers.pair_columns import PairColumns

if TYPE_CHECKING:
    from mdpo_readers.examples import PairRows
    from mdpo_readers.tables.table import Table


class Pairs(Reader):
    """Preference pairs from JSON, JSONL or Parquet, a folder saved by `datasets`, or a hub name.

    The default columns are the ones of the paper's published data: ``{img_path, prompt, chosen, rejected}``. Prompts
    and responses are text, or lists of chat messages ``{role, content}`` (or ``{from, value}``). The content of a
    message is text with ``<image>`` marks, or a list of parts ``{type: text, text}`` and ``{type: image}``.
    """

    path: str = Field(description="a .json, .jsonl or .parquet file, a folder of `datasets`, or a name on the hub")
    split: str = Field(default="train", description="the split, if the data has several")
    images: Path = Field(default=Path(), description="the folder of the images; paths start from it and stay in it")
    prompt: str | None = Field(
        default="prompt",
        description="the column of prompts; null: responses are whole conversations, whose last turn is the response",
    )
    image: str | None = Field(
        default="img_path", description="the column of images: paths or embedded, one or a list; null: text only"
    )
    responses: dict[str, str] = Field(
        default={"chosen": "chosen", "rejected": "rejected"}, description="responses by name, and their columns"
    )
    columns: tuple[str, ...] = Field(default=(), description="numeric columns that terms ask for")
    other_images: dict[str, str] = Field(
        default={}, description="other images of a row by name, and their columns, which are read like images"
    )
    other_prompts: dict[str, str] = Field(default={}, description="other prompts of a row by name, and their columns")
    vectors: dict[str, str] = Field(
        default={}, description="lists of numbers by name, such as an image's embedding, and their columns"
    )
    boxes: dict[str, str] = Field(
        default={},
        description="boxes [left, top, right, bottom] by name, in pixels, and their columns: a list of boxes, or, for "
        "rows with several images, a list of boxes for each image",
    )
    id: str | None = Field(default=None, description="the column of row names; default: the row's number, from 1")

    max_pixels: int = Field(
        default=ImageOptions.max_pixels, gt=0, description="a row whose image has more pixels is bad"
    )
    max_aspect_ratio: float = Field(
        default=ImageOptions.max_aspect_ratio,
        ge=1,
        description="a row is bad if a side of its image is longer than the other by more than this factor",
    )
    background: str = Field(
        default=ImageOptions.background, description="the colour behind transparent pixels, such as white or #808080"
    )

    @field_validator("background")
    @classmethod
    def _background_is_a_colour(cls, name: str) -> str:
        from PIL.ImageColor import getrgb

        if len(getrgb(name)) != 3:
            raise ValueError("the background must be opaque: a name or #RRGGBB")
        return name

    @model_validator(mode="after")
    def _prompts_come_from_somewhere(self) -> Self:
        if self.prompt is None and not self.responses:
            raise ValueError("prompt: null reads prompts from the responses, but responses is empty: name one")
        return self

    def open(self) -> PairRows:
        from mdpo_readers.examples import PairRows
        from mdpo_readers.tables.opening import open_table

        table = open_table(self.path, self.split)
        columns = self.used()
        self._require(columns, table)
        return PairRows(columns, table, self.with_options)

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {
            "responses": self.responses,
            "columns": self.columns,
            "other_images": self.other_images,
            "other_prompts": self.other_prompts,
            "vectors": self.vectors,
            "boxes": self.boxes,
        }

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str:
        if field == "columns":
            return f"data.columns: [{name}]"
        others = "..., " if field == "responses" else ""  # the default's entries
        return f"data.{field}: {{{others}{name}: COLUMN}}"

    def used(self) -> PairColumns:
        """The options that reading a row needs."""
        return PairColumns(**{field.name: getattr(self, field.name) for field in fields(PairColumns)})

    def with_options(self, **changes: Any) -> Pairs:
        """A copy of this reader with some options changed, without checking them again."""
        return self.model_copy(update=changes)

    def _require(self, columns: PairColumns, table: Table) -> None:
        """Raise `DataError` if the table lacks a column, or the folder of images does not exist."""
        problems = [*self._missing_columns(columns, table), *self._missing_images(columns)]
        if problems:
            raise DataError(problems)

    def _missing_columns(self, columns: PairColumns, table: Table) -> list[Problem]:
        missing = table.missing(columns.names())
        names = table.column_names() if missing else ()
        listed = ", ".join(names)
        return [
            Problem(self.path, "", f"there is no column '{name}'{suggestion(name, names)}  (columns: {listed})")
            for name in missing
        ]

    def _missing_images(self, columns: PairColumns) -> list[Problem]:
        from mdpo_readers.tables.opening import file_suggestion

        if not columns.of_images():
            return []
        try:
            if self.images.is_dir():
                return []
        except OSError as error:  # too long a name, or a folder that may not be entered
            return [Problem(self.path, "", f"data.images: {shown(str(self.images))} cannot be read: {error.strerror}")]
        message = f"data.images: there is no folder '{self.images}'{file_suggestion(self.images)}"
        return [Problem(self.path, "", message)]
