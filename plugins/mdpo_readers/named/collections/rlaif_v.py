"""RLAIF-V (arXiv:2405.17220): a bare question, a chosen and a rejected answer, the picture embedded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mdpo_readers.cell_types import text
from mdpo_readers.embedded import is_embedded
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked


class RlaifV(TableReader):
    """RLAIF-V as published: ``{image, question, chosen, rejected}``."""

    title: ClassVar[str] = "RLAIF-V"
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "chosen", "rejected")

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        # MMPR has the same columns, with paths.
        picture = first.get("image")
        return set(cls.columns) <= set(columns) and (is_embedded(picture) or not isinstance(picture, str | list))

    def pairs(self, row: Row) -> Iterable[Pair]:
        yield Pair(asked(row["question"]), text(row["chosen"]), text(row["rejected"]), row["image"])
