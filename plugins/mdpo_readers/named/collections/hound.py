"""LLaVA-Hound (arXiv:2404.01258): answers about a video, which is a folder of frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

from pydantic import Field

from mdpo_core import ExampleField
from mdpo_readers.cell_types import text
from mdpo_readers.folders import frames_of
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked


class Hound(TableReader):
    """LLaVA-Hound's pairs: ``{video, prompt, chosen, rejected}``; a video is a folder of frames in ``images``."""

    title: ClassVar[str] = "LLaVA-Hound"
    columns: ClassVar[tuple[str, ...]] = ("video", "prompt", "chosen", "rejected")
    also: ClassVar[tuple[str, ...]] = ("chosen_score", "rejected_score")

    frames: int = Field(
        default=10, ge=1, le=1000, description="frames of a video, evenly spaced; fewer if it has fewer"
    )

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return None  # some files have scores

    def pairs(self, row: Row) -> Iterable[Pair]:
        scores = {name: row.number(name) for name in ("chosen_score", "rejected_score") if name in row}
        shown = frames_of(row["video"], self.images, self.frames)
        yield Pair(asked(row["prompt"]), text(row["chosen"]), text(row["rejected"]), shown, columns=scores)
