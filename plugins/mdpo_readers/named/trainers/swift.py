"""The preference format of ms-swift."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mdpo_core import ExampleField
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader

_REJECTED = ("rejected_response", "rejected_messages", "rejected_images")


class Swift(TableReader):
    """ms-swift's preference format: ``{messages, images}`` and what is rejected.

    The last message is the chosen answer. ``rejected_response`` is an answer, ``rejected_messages`` a whole
    conversation. ``rejected_images`` are other pictures for the same answer: read them with the condition
    ``{corruption: row_image, name: rejected_images}``.
    """

    title: ClassVar[str] = "ms-swift's preference format"
    columns: ClassVar[tuple[str, ...]] = ("messages",)
    also: ClassVar[tuple[str, ...]] = ("images", "image", *_REJECTED)
    mark_ending: ClassVar[str] = ""

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        return "messages" in columns and any(name in columns for name in _REJECTED)

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some rows reject an answer, others a picture

    def pairs(self, row: Row) -> Iterable[Pair]:
        prompt, chosen = conversations.prompt_and_response(row["messages"])
        pictures = _pictures(row)
        other = {"rejected_images": row["rejected_images"]} if "rejected_images" in row else {}
        if not other and not ({"rejected_response", "rejected_messages"} & {*row.filled()}):
            raise row["rejected_response"].wrong("is empty, and so are rejected_messages and rejected_images")
        yield Pair(prompt, chosen, self._rejected(row, prompt), pictures, other_images=other)

    def _rejected(self, row: Row, prompt: Any) -> Any:
        if "rejected_messages" in row:
            before, rejected = conversations.prompt_and_response(row["rejected_messages"])
            if before != prompt:
                raise row["rejected_messages"].wrong("the turns before the answer differ from those in 'messages'")
            return rejected
        return conversations.response(row["rejected_response"]) if "rejected_response" in row else None


def _pictures(row: Row) -> Cell:
    """The cell with the pictures, which may be inside the messages."""
    pictures = row["images" if "images" in row else "image"]
    if pictures.value:
        return pictures
    return row["messages"]._replace(value=conversations.images_inside(row["messages"]))
