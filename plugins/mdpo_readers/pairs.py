"""The `pairs` reader: its options, and what can be wrong before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from mdpo_core import DataError, ExampleField, Problem, Reader

if TYPE_CHECKING:
    from mdpo_readers.rows import PairRows


class Pairs(Reader):
    """Preference pairs from JSON, JSONL or Parquet, a folder saved by `datasets`, or a hub name.

    The column names are those of the paper's published data: ``{img_path, prompt, chosen, rejected}``. Prompts and
    responses are text, or lists of chat messages ``{role, content}`` (or ``{from, value}``), in which a content is text
    with ``<image>`` marks, or parts ``{type: text, text}`` and ``{type: image}``.
    """

    path: str = Field(description="a .json, .jsonl or .parquet file, a folder of `datasets`, or a name on the hub")
    split: str = Field(default="train", description="the split, where the source has several")
    images: Path = Field(default=Path(), description="the folder that image paths start from, and may not leave")
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
    pictures: dict[str, str] = Field(
        default={}, description="other pictures of a row by name, and their columns, which are read like images"
    )
    prompts: dict[str, str] = Field(default={}, description="other prompts of a row by name, and their columns")
    vectors: dict[str, str] = Field(
        default={}, description="lists of numbers by name, such as an image's embedding, and their columns"
    )
    boxes: dict[str, str] = Field(
        default={},
        description="boxes [left, top, right, bottom] by name, in pixels, and their columns: a list of them, or, for "
        "rows with several images, such a list for each",
    )
    id: str | None = Field(default=None, description="the column of row names; default: the row's number, from 1")

    @model_validator(mode="after")
    def _prompts_come_from_somewhere(self) -> Self:
        if self.prompt is None and not self.responses:
            raise ValueError("prompt: null reads prompts from the responses, and responses names none")
        return self

    def open(self) -> PairRows:
        from mdpo_readers.rows import PairRows
        from mdpo_readers.source import open_table

        table = open_table(self.path, self.split)
        self._require(table.column_names)
        return PairRows(self, table)

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {
            "responses": self.responses,
            "columns": self.columns,
            "pictures": self.pictures,
            "prompts": self.prompts,
            "vectors": self.vectors,
            "boxes": self.boxes,
        }

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str:
        if field == "columns":
            return f"data.columns: [{name}]"
        others = "..., " if field == "responses" else ""  # which this option holds from the start
        return f"data.{field}: {{{others}{name}: COLUMN}}"

    def used_columns(self) -> list[str]:
        """The columns that the options name, each once."""
        mapped = [self.responses, self.pictures, self.prompts, self.vectors, self.boxes]
        named = [
            self.prompt,
            self.image,
            *self.columns,
            self.id,
            *(column for each in mapped for column in each.values()),
        ]
        return list(dict.fromkeys(column for column in named if column is not None))

    def image_columns(self) -> list[str]:
        """Those of them that hold pictures."""
        return [*([] if self.image is None else [self.image]), *self.pictures.values()]

    def _require(self, there: list[str]) -> None:
        found = [
            Problem(self.path, "", f"there is no column '{column}'{near(column, there)}  (columns: {', '.join(there)})")
            for column in self.used_columns()
            if column not in there
        ]
        if self.image_columns() and not self.images.is_dir():
            text = f"data.images: there is no folder '{self.images}'{near_file(self.images)}"
            found.append(Problem(self.path, "", text))
        if found:
            raise DataError(found)


def near(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known word, or nothing."""
    matches = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def near_file(path: Path) -> str:
    """The same for what stands beside a path that does not exist, by its last part."""
    there = {each.name: str(each) for each in path.parent.iterdir()} if path.parent.is_dir() else {}
    matches = difflib.get_close_matches(path.name, sorted(there), n=1)
    return f"; did you mean '{there[matches[0]]}'?" if matches else ""
