"""The preference format of ms-swift."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from mdpo_core import IMAGE_MARK, ExampleField, Turn
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.named.cells import first_filled, is_filled

_REJECTED = ("rejected_response", "rejected_messages", "rejected_images")
_UNREAD = ("video", "audios", "audio")
_VIDEO_MARK = "<video>"


class Swift(TableReader):
    """ms-swift's preference format: ``{messages, images}`` and what is rejected.

    The last message is the chosen answer. ``rejected_response`` is an answer, ``rejected_messages`` a whole
    conversation. ``rejected_images`` are other pictures for the same answer: read them with the condition
    ``{corruption: dataset_image, picture: rejected_images}``. A video is a list of frames in ``videos``; it becomes one
    picture for each frame.
    """

    title: ClassVar[str] = "ms-swift's preference format"
    columns: ClassVar[tuple[str, ...]] = ("messages",)
    also: ClassVar[tuple[str, ...]] = ("images", "image", *_REJECTED, "videos", *_UNREAD)
    mark_ending: ClassVar[str] = ""

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        return "messages" in columns and any(name in columns for name in _REJECTED)

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some rows reject an answer, others a picture

    def pairs(self, row: Row) -> Iterable[Pair]:
        prompt, chosen = conversations.prompt_and_response(row["messages"])
        other = {"rejected_images": row["rejected_images"]} if is_filled(row["rejected_images"].value) else {}
        if not other and not any(_has_answer(row, name) for name in ("rejected_response", "rejected_messages")):
            raise row["rejected_response"].wrong("is empty, and so are rejected_messages and rejected_images")
        rejected = self._rejected(row, prompt)
        videos = _videos(row)
        if _VIDEO_MARK in chosen or (isinstance(rejected, str) and _VIDEO_MARK in rejected):
            raise row["messages"].wrong(f"an answer contains {_VIDEO_MARK}; only a prompt may show a video")
        pictures = _pictures(row, videos)
        yield Pair(_with_frames(row["messages"], prompt, videos), chosen, rejected, pictures, other_images=other)

    def _rejected(self, row: Row, prompt: Any) -> Any:
        if _has_answer(row, "rejected_messages"):
            if is_filled(row["rejected_response"].value):
                raise row["rejected_messages"].wrong("is filled, and so is rejected_response; keep one of them")
            before, rejected = conversations.prompt_and_response(row["rejected_messages"])
            if before != prompt:
                raise row["rejected_messages"].wrong("the turns before the answer differ from those in 'messages'")
            return rejected
        rejects_answer = _has_answer(row, "rejected_response")
        return conversations.response(row["rejected_response"]) if rejects_answer else None


def _has_answer(row: Row, column: str) -> bool:
    """Whether a column rejects an answer. An empty list or text counts as absent where something else is rejected."""
    if is_filled(row[column].value):
        return True
    is_alone = not any(is_filled(row[name].value) for name in _REJECTED)
    return is_alone and column in row and row[column].value != []


def _videos(row: Row) -> list[list[Any]]:
    """The frames of each video. A video of any other kind, and a sound, are refused."""
    for name in _UNREAD:
        if is_filled(row[name].value):
            raise row[name].wrong("sounds are not read" if name.startswith("audio") else _as_frames("is not read yet"))
    videos = row["videos"]
    if not is_filled(videos.value):
        return []
    if not isinstance(videos.value, list) or not all(isinstance(each, list) and each for each in videos.value):
        raise videos.wrong(_as_frames("videos are not read yet"))
    if is_filled(row["images"].value) or is_filled(row["image"].value):
        raise videos.wrong("pictures and videos in one row are not read yet; write all pictures in 'images'")
    return videos.value


def _as_frames(fault: str) -> str:
    return f"{fault}; write the frames of each video as a list of pictures: videos: [[walk1.png, walk2.png]]"


def _with_frames(messages: Cell, prompt: tuple[Turn, ...], videos: list[list[Any]]) -> tuple[Turn, ...]:
    """The prompt with a mark for each frame where the mark of its video is."""
    marks = sum(turn.text.count(_VIDEO_MARK) for turn in prompt)
    if marks not in (0, len(videos)) or (marks and not videos):
        raise messages.wrong(f"has {marks} {_VIDEO_MARK} marks, and the row has {len(videos)} videos in 'videos'")
    frames = iter(videos)
    return tuple(
        replace(turn, text=re.sub(_VIDEO_MARK, lambda _: IMAGE_MARK * len(next(frames)), turn.text)) for turn in prompt
    )


def _pictures(row: Row, videos: list[list[Any]]) -> Cell:
    """The cell with the pictures, which may be frames, or inside the messages."""
    if videos:
        return row["videos"]._replace(value=[frame for frames in videos for frame in frames])
    pictures = first_filled(row, "images", "image")
    if pictures.value:
        return pictures
    return row["messages"]._replace(value=conversations.images_inside(row["messages"]))
