"""The preference format of OpenAI's fine-tuning: messages, a preferred output and another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from mdpo_readers import conversations
from mdpo_readers.cell_types import holds_tools
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import item
from mdpo_readers.video_reader import VideoReader


class OpenAI(VideoReader, TableReader):
    """OpenAI's preference format: ``{input: {messages}, preferred_output, non_preferred_output}``.

    Pictures and videos are parts of the messages, as base64 or below ``images``; a web address is refused.
    """

    title: ClassVar[str] = "OpenAI's preference format"
    called: ClassVar[tuple[tuple[str, str], ...]] = (
        ("preferred", "non_preferred"),
        ("preferred_output", "non_preferred_output"),
    )
    nested: ClassVar[tuple[str, ...]] = (
        "input",
        "preferred_output",
        "non_preferred_output",
    )
    columns: ClassVar[tuple[str, ...]] = ("input", "preferred_output", "non_preferred_output")
    mark_ending: ClassVar[str] = ""

    def pairs(self, row: Row) -> Iterable[Pair]:
        asked = item(row["input"], "messages")
        if holds_tools(item(row["input"], "tools").value):
            text = "holds tools, which cannot be trained on yet; remove the row or the tools"
            raise item(row["input"], "tools").wrong(text)
        prompt = conversations.prompt(asked)
        chosen, rejected = (conversations.response(row[f"{name}_output"]) for name in ("preferred", "non_preferred"))
        pictures = asked._replace(value=conversations.images_inside(asked))
        videos = asked._replace(value=conversations.videos_inside(asked))
        yield Pair(prompt, chosen, rejected, pictures, videos=videos, asked=asked.column)
