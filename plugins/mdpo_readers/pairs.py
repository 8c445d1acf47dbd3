"""The `pairs` reader: its options, and what can be wrong before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import DataError, Problem, Reader

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
    id: str | None = Field(default=None, description="the column of row names; default: the row's number, from 1")

    def open(self) -> PairRows:
        from mdpo_readers.rows import PairRows
        from mdpo_readers.source import open_table

        table = open_table(self.path, self.split)
        self._require(table.column_names)
        return PairRows(self, table)

    def used_columns(self) -> list[str]:
        """The columns that the options name, each once."""
        named = [self.prompt, self.image, *self.responses.values(), *self.columns, self.id]
        return list(dict.fromkeys(column for column in named if column is not None))

    def _require(self, there: list[str]) -> None:
        found = [
            Problem(self.path, "", f"there is no column '{column}'{near(column, there)}  (columns: {', '.join(there)})")
            for column in self.used_columns()
            if column not in there
        ]
        if self.image is not None and not self.images.is_dir():
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
