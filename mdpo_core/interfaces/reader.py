"""Readers: sources of examples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from mdpo_core.interfaces.component import Component, Options
from mdpo_core.types.example import Example, ExampleField
from mdpo_core.types.rows import RowStream


@dataclass(frozen=True)
class DataSummary:
    """What a reader knows of a file that it was not configured for.

    ``line``: the line of a recipe that reads it; ``first``: the first pair that it gives, if it gives one.
    ``other_lines``: lines that read other data sets there. ``rows``: the first ones, by column, as they are stored.
    ``problems``: for ``line`` and each of ``other_lines``, why it does not read the first rows yet, and what to do;
    empty text if it reads them. ``notes``: for each of these lines, what to look at; empty text if it is clear.
    """

    line: str
    columns: tuple[str, ...]
    num_rows: int
    rows: tuple[Mapping[str, Any], ...]
    first: Example | None = None
    other_lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class HoldOut(Options):
    """Rows that are not trained on, so that evaluators can measure on them. Rows that share a picture stay together."""

    share: float | None = Field(default=None, gt=0, lt=1, description="the share of the rows that is held out")
    rows: int | None = Field(default=None, gt=0, description="or the number of rows that is held out")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of the rows that are held out")

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if (self.share is None) == (self.rows is None):
            raise ValueError("say how many rows are held out: share: 0.05, or rows: 500, and not both")
        return self


class Quarantine(Options):
    """Bad rows are left out, up to a share of all rows; above it, nothing is trained."""

    quarantine: float = Field(gt=0, lt=1, description="the share of the rows that may be bad")


class Reader(Component):
    """A source of examples."""

    kind: ClassVar[str] = "reader"
    bad_rows: Literal["stop", "quarantine"] | Quarantine = Field(
        default="stop",
        description="stop before training, or list bad rows in quarantine.jsonl and train on the rest; with "
        "{quarantine: 0.01}, stop if more than this share is bad",
    )
    duplicates: Literal["keep", "quarantine"] = Field(
        default="keep",
        description="keep rows with the same prompt, answers and pictures, or list all but the first of them in "
        "quarantine.jsonl and leave them out",
    )
    check: Literal["all", "none"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        default="all",
        description="which rows are checked before training: all, a share of them such as 0.01, or none; the others "
        "are checked when they are met, and a bad one then stops the run with a checkpoint, or is left out",
    )
    hold_out: HoldOut | None = Field(
        default=None,
        description="rows that are not trained on, for evaluators: {share: 0.05} or {rows: 500}; all rows with the "
        "same picture are held out, or none",
    )

    @property
    def most_bad(self) -> float:
        """The share of the rows that may be bad, from 0 to 1: 0 stops at the first one."""
        if isinstance(self.bad_rows, Quarantine):
            return self.bad_rows.quarantine
        return float(self.bad_rows == "quarantine")

    @property
    def notes_files(self) -> bool:
        """Whether every file and folder that decides what the rows are is noted with `note_file`.

        Then the result of the check is stored, and the rows are not checked again until one of these files changes.
        `read_image` notes the files that it reads. A reader that reads other files overrides this, and calls
        `note_file` when it opens them.
        """
        return False

    @abstractmethod
    def open(self) -> Sequence[Example]:
        """The rows, which are read when they are indexed.

        Raises `DataError` if the source is missing. Indexing raises `DataError` if the row is bad.
        """

    def is_streamed(self) -> bool:
        """Whether rows come from `stream`, and `open` gives only those of its first block."""
        return False

    def stream(self) -> RowStream:
        """The rows of a source whose length is not known. Only for readers that say that they are streamed.

        Raises `DataError` if the source is missing.
        """
        raise NotImplementedError(f"{type(self).__name__} is streamed, so it must implement stream()")

    @property
    def rows_at_once(self) -> int | None:
        """The rows of the largest block of its stream; None: only the stream can tell. Steps never cross a block."""
        return None

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        """The names that every row has in each field of `Example`; a field that is absent has none.

        If a recipe needs another name, it is refused before a row is read. None: only the rows can tell.
        """
        return None

    def names_of_sources(self) -> tuple[str, ...] | None:
        """Every value that `Example.source` has in its rows; () if the rows name none. None: only the rows can tell."""
        return ()

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str | None:
        """The option that gives rows ``name`` in ``field``: ``data.columns: [score]``; None if there is none."""
        return None

    @classmethod
    def summarize(cls, path: str, count: int) -> DataSummary | None:
        """What is at ``path``, with the first ``count`` rows, for `mdpo data`; None if this reader cannot tell.

        Raises `DataError` if the file is damaged.
        """
        return None


class StoredRows(Protocol):
    """Rows with every stored column, for commands that write the rows again with other responses.

    The sequence from `Reader.open` may have this as its attribute ``as_stored``. Without it, the commands write the
    examples' own fields.
    """

    @property
    def embeds_images(self) -> bool:
        """Whether the rows contain the images themselves, not names of image files."""

    def stored(self, index: int) -> dict[str, Any]:
        """The columns of a row as JSON values, without embedded images. Raises `DataError` if the row is bad."""

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The new values of the columns that contain these responses, by column.

        ``images``: file names for the embedded images, by the name in `Example.other_images`; "" for the row's own.
        """

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Reader:
        """A reader of a JSONL file of such rows that reads only these responses and numeric columns.

        ``images``: the folder of the images that were embedded.
        """
