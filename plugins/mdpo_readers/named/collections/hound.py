"""LLaVA-Hound (arXiv:2404.01258): answers about a video, which is a folder of frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

from pydantic import Field

from mdpo_core import ExampleField
from mdpo_readers.cell_types import text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import is_filled
from mdpo_readers.named.rated import require_better
from mdpo_readers.video_reader import FrameReader
from mdpo_readers.videos.sampling import EndToEnd, Sampling


class Hound(FrameReader, TableReader):
    """LLaVA-Hound's pairs: ``{video, prompt, chosen, rejected}``; a video is a folder of frames, or a file.

    A row whose chosen answer does not have the higher score (``chosen_score``, ``rejected_score``) is refused.
    """

    title: ClassVar[str] = "LLaVA-Hound"
    columns: ClassVar[tuple[str, ...]] = ("video", "prompt", "chosen", "rejected")
    also: ClassVar[tuple[str, ...]] = ("chosen_score", "rejected_score")

    frames: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="frames of a video, from the first to the last, evenly spaced; fewer if it has fewer",
    )

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some files have scores

    def sampling(self) -> Sampling:
        return EndToEnd(self.frames, frame_rate=self.frame_rate)

    def pairs(self, row: Row) -> Iterable[Pair]:
        scores = {name: row.number(name) for name in ("chosen_score", "rejected_score") if name in row}
        require_better(row, "chosen_score", "rejected_score")
        video = row["video"]
        if not is_filled(video.value):
            raise video.must_be("the name of a folder of frames or of a video")
        yield Pair(asked(row["prompt"]), text(row["chosen"]), text(row["rejected"]), columns=scores, videos=video)
