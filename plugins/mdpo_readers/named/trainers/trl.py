"""The preference format of TRL, with pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mdpo_readers import conversations
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.named.cells import first_filled
from mdpo_readers.video_reader import VideoReader


class Trl(VideoReader, TableReader):
    """TRL's preference format: ``{prompt, chosen, rejected}`` as text or messages, with ``images`` or ``image``.

    Without a prompt, chosen and rejected are whole conversations. Pictures without a mark stand before the user's first
    text, as in TRL.
    """

    title: ClassVar[str] = "TRL's preference format"
    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    also: ClassVar[tuple[str, ...]] = ("prompt", "images", "image")
    mark_ending: ClassVar[str] = ""
    keeps_ready_prompts: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        has_pictures = "images" in columns or "image" in columns
        return {"chosen", "rejected"} <= set(columns) and has_pictures and _is_trl(columns, first)

    def pairs(self, row: Row) -> Iterable[Pair]:
        if "prompt" in row:
            prompt = conversations.prompt(row["prompt"])
            chosen, rejected = conversations.response(row["chosen"]), conversations.response(row["rejected"])
        else:
            if isinstance(row["chosen"].value, str):
                text = (
                    "is text, and the row has no prompt; add a column 'prompt' with the question, and keep the answers"
                )
                raise row["chosen"].wrong(f"{text} alone in chosen and rejected")
            prompt, chosen, rejected = conversations.split_alike(row["chosen"], row["rejected"])
        asked = row["prompt" if "prompt" in row else "chosen"]
        pictures = first_filled(row, "images", "image")
        videos = asked._replace(value=conversations.videos_inside(asked))
        yield Pair(prompt, chosen, rejected, pictures, videos=videos, asked=asked.column)


def _is_trl(columns: Collection[str], first: Mapping[str, Any]) -> bool:
    """A prompt of its own, or conversations in the answers."""
    return "prompt" in columns or isinstance(first.get("chosen"), list)
