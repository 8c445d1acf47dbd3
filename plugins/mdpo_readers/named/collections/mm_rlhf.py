"""MM-RLHF (arXiv:2502.10391): ranked answers about pictures and videos."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mdpo_core import ExampleField
from mdpo_readers.cell_types import text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import first_filled, is_filled
from mdpo_readers.named.rated import require_better
from mdpo_readers.video_reader import FrameReader
from mdpo_readers.videos.sampling import EndToEnd, Sampling

_NUMBERS = ("chosen_rank", "rejected_rank", "chosen_score", "rejected_score")


class MmRlhf(FrameReader, TableReader):
    """MM-RLHF's pairs: ``{image or video, prompt or question, chosen, rejected}``.

    A video is a file or a folder of frames. Ranks and scores (``chosen_rank``, ``rejected_rank``, ``chosen_score``,
    ``rejected_score``) are columns for terms; a rank of 1 is the best. A row whose chosen answer has the worse rank
    or score, or the same one, is refused.
    """

    title: ClassVar[str] = "MM-RLHF"
    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    also: ClassVar[tuple[str, ...]] = ("prompt", "question", "image", "images", "video", *_NUMBERS)

    frames: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="frames of a video, from the first to the last, evenly spaced; fewer if it has fewer",
    )

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        has_question = "prompt" in columns or "question" in columns
        has_either = {"image", "video"} <= set(columns) or "chosen_rank" in columns
        return {"chosen", "rejected"} <= set(columns) and has_question and has_either

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some files have ranks

    def sampling(self) -> Sampling:
        return EndToEnd(self.frames, frame_rate=self.frame_rate)

    def pairs(self, row: Row) -> Iterable[Pair]:
        numbers = {name: row.number(name) for name in _NUMBERS if name in row}
        require_better(row, "chosen_rank", "rejected_rank", best="lowest")
        require_better(row, "chosen_score", "rejected_score")
        prompt = asked(first_filled(row, "prompt", "question"))
        shown = first_filled(row, "video", "image", "images")
        images, videos = (None, shown) if is_filled(row["video"].value) else (shown, None)
        yield Pair(prompt, text(row["chosen"]), text(row["rejected"]), images, columns=numbers, videos=videos)
