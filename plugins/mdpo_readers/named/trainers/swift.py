"""The preference format of ms-swift."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import VIDEO_MARK, ExampleField, Prompt, Turn, count_marks
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, question, shown, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.named.cells import earlier_turns, first_filled, is_filled, with_system
from mdpo_readers.video_reader import VideoReader

if TYPE_CHECKING:
    from mdpo_readers.tables.table import Table

_REJECTED = ("rejected_response", "rejected_messages", "rejected_images")
_OLDER = ("query", "response", "history")
_SOUNDS = ("audios", "audio")
_OBJECTS = ("<ref-object>", "<bbox>")


class Swift(VideoReader, TableReader):
    """ms-swift's preference format: ``{messages, images}`` and what is rejected.

    The last message is the chosen answer. ``rejected_response`` is an answer, ``rejected_messages`` a whole
    conversation. ``rejected_images`` are other pictures for the same answer: read them with the condition
    ``{corruption: dataset_image, picture: rejected_images}``; beside a rejected answer they must be the row's own. A
    video in ``videos`` is a file, a folder of frames or a list of frames; it becomes one picture for each frame.
    ``system`` is the system's turn. In older rows ``query`` and ``response`` stand for the messages, and ``history``
    for the pairs before them. Tools, and texts with ``<ref-object>`` or ``<bbox>``, are refused.
    """

    title: ClassVar[str] = "ms-swift's preference format"
    called: ClassVar[tuple[tuple[str, str], ...]] = (
        ("messages", "rejected_messages"),
        ("response", "rejected_response"),
    )
    nested: ClassVar[tuple[str, ...]] = (
        "messages",
        "rejected_messages",
        "history",
    )
    columns: ClassVar[tuple[str, ...]] = ("messages",)
    also: ClassVar[tuple[str, ...]] = ("images", "image", "system", *_REJECTED, "videos", "video", *_SOUNDS, *_OLDER)
    mark_ending: ClassVar[str] = ""

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        has_chosen = "messages" in columns or {"query", "response"} <= set(columns)
        return has_chosen and any(name in columns for name in _REJECTED)

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some rows reject an answer, others a picture

    def pairs(self, row: Row) -> Iterable[Pair]:
        before, chosen = self._conversation(row)
        if not is_filled(row["rejected_images"].value) and not any(
            _has_answer(row, name) for name in ("rejected_response", "rejected_messages")
        ):
            raise row["rejected_response"].wrong("is empty, and so are rejected_messages and rejected_images")
        rejected = self._rejected(row, before)
        _require_no_sound(row)
        _require_no_objects(row["messages"], *_texts(before), chosen)
        column = "rejected_messages" if _has_answer(row, "rejected_messages") else "rejected_response"
        _require_no_objects(row[column], *_texts(rejected))
        if any(isinstance(each, str) and count_marks(each, VIDEO_MARK) for each in (chosen, rejected)):
            raise row["messages"].wrong(
                f"an answer contains {VIDEO_MARK}; only a prompt may show a video: write \\{VIDEO_MARK} if the word "
                "is meant"
            )
        pictures = _in_messages(row, first_filled(row, "images", "image"), conversations.images_inside)
        other = self._other_pictures(row, pictures, rejects_answer=rejected is not None)
        videos = _in_messages(row, first_filled(row, "videos", "video"), conversations.videos_inside)
        prompt = with_system(before, row["system"])
        asked = "messages" if "messages" in row else "query"
        yield Pair(prompt, chosen, rejected, pictures, other_images=other, videos=videos, asked=asked)

    def _require_columns(self, needed: Sequence[str], table: Table) -> None:
        is_older = table.missing(needed) and "response" in table.column_names()
        super()._require_columns(_OLDER[:2] if is_older else needed, table)

    def _conversation(self, row: Row) -> tuple[tuple[Turn, ...], str]:
        """The turns before the chosen answer, and that answer."""
        history = row["history"]
        if "messages" not in row and "response" in row:
            last = Turn("user", question(row["query"]))
            return (*earlier_turns(history), last), text(row["response"])
        if is_filled(history.value) and "history" not in self.unread:
            raise history.wrong(
                f"holds earlier turns beside 'messages': {shown(history.value)}; write them into the messages, or "
                "leave it out: data.unread: [history]"
            )
        return conversations.prompt_and_response(row["messages"])

    def _other_pictures(self, row: Row, pictures: Cell, *, rejects_answer: bool) -> dict[str, Cell]:
        """The rejected pictures, for a condition. An answer beside them must belong to the same pictures as the row."""
        rejected = row["rejected_images"]
        if not is_filled(rejected.value) or (rejects_answer and "rejected_images" in self.unread):
            return {}
        if rejects_answer and _listed(rejected.value) != _listed(pictures.value):
            raise rejected.wrong(
                "has other pictures than the row, and an answer is rejected, too; this answer would be read with the "
                "row's own pictures: make two rows of it, or say unread: [rejected_images]"
            )
        return {"rejected_images": rejected}

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


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _has_answer(row: Row, column: str) -> bool:
    """Whether a column rejects an answer. An empty list or text counts as absent where something else is rejected."""
    if is_filled(row[column].value):
        return True
    is_alone = not any(is_filled(row[name].value) for name in _REJECTED)
    return is_alone and column in row and row[column].value != []


def _require_no_sound(row: Row) -> None:
    for name in _SOUNDS:
        if is_filled(row[name].value):
            raise row[name].wrong("sounds are not read")


def _texts(prompt: Prompt | None) -> Iterable[str]:
    if prompt is None or isinstance(prompt, str):
        return () if prompt is None else (prompt,)
    return [turn.text for turn in prompt]


def _require_no_objects(cell: Cell, *texts: str) -> None:
    """Refuse the tags that ms-swift fills with what ``objects`` holds."""
    for tag in _OBJECTS:
        if any(tag in each for each in texts):
            raise cell.wrong(
                f"contains {tag}, which stands for a part of 'objects', which is not read; write the names and the "
                "boxes into the text, as the model writes them, or remove the row"
            )


def _in_messages(row: Row, cell: Cell, inside: Callable[[Cell], list[Any]]) -> Cell:
    """The cell with pictures or videos, which may be inside the messages."""
    return cell if cell.value else row["messages"]._replace(value=inside(row["messages"]))
