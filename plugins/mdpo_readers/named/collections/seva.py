"""SeVa (arXiv:2404.10501): answers of the model to the plain and to a changed picture."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mdpo_readers.cell_types import text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked


class SeVa(TableReader):
    """SeVa as published: ``{image_id, question, chosen, reject}``; ``images`` is the folder of the pictures."""

    title: ClassVar[str] = "SeVa"
    called: ClassVar[tuple[tuple[str, str], ...]] = (("chosen", "reject"),)
    columns: ClassVar[tuple[str, ...]] = ("image_id", "question", "chosen", "reject")

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        # HA-DPO has the same columns, with numbers of pictures.
        return set(cls.columns) <= set(columns) and bool(Path(str(first.get("image_id"))).suffix)

    def pairs(self, row: Row) -> Iterable[Pair]:
        yield Pair(asked(row["question"]), text(row["chosen"]), text(row["reject"]), row["image_id"])
