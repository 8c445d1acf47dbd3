"""Readers: where examples come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field

from mdpo_core.interfaces.component import Component
from mdpo_core.types.example import Example, ExampleField


class Reader(Component):
    """Where examples come from."""

    kind: ClassVar[str] = "reader"
    bad_rows: Literal["stop", "quarantine"] = Field(
        default="stop",
        description="stop before training, or list bad rows in quarantine.jsonl and train on the rest",
    )

    @abstractmethod
    def open(self) -> Sequence[Example]:
        """The rows, read when indexed. Raises `DataError` here if the source is missing, and on a row that is bad."""

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        """The names that rows have in each field of `Example`, those of absent fields being none.

        What a recipe needs besides is then refused before any row is read. None: only the rows can tell.
        """
        return None

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str | None:
        """What to set so that rows have ``name`` in ``field``: ``data.columns: [score]``; None if nothing does."""
        return None


class StoredRows(Protocol):
    """Rows with all that is stored in them, for commands that write them anew with other responses.

    What `Reader.open` gives may have one as its attribute ``as_stored``; other rows are written as their examples are.
    """

    @property
    def embeds_images(self) -> bool:
        """Whether pictures are stored in the rows, and not in files that these name."""

    def stored(self, index: int) -> dict[str, Any]:
        """The columns of a row, as JSON holds them; embedded pictures are left out. Raises `DataError`."""

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The columns that hold these responses, by name, and what they are to hold.

        ``images``: the names of files of what was embedded, by the name of the picture; "" is the row's own images'.
        """

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Reader:
        """What reads of a JSONL file of such rows these responses and numeric columns, and no others.

        ``images``: the folder of what was embedded.
        """
