"""RLHF-V (arXiv:2312.00849): question and answers are one JSON text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mdpo_readers.cell_types import Cell, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked, item
from mdpo_readers.tables.files.json_rows import values_of


class RlhfV(TableReader):
    """RLHF-V as published: ``{image, text}``, where text is a JSON object of question, chosen and rejected."""

    title: ClassVar[str] = "RLHF-V"
    columns: ClassVar[tuple[str, ...]] = ("image", "text")

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        if not set(cls.columns) <= set(columns):
            return False
        try:
            return {"question", "chosen", "rejected"} <= set(values_of(str(first.get("text")).encode()))
        except ValueError:  # a text that is no object
            return False

    def pairs(self, row: Row) -> Iterable[Pair]:
        stored = _parsed(row["text"])
        chosen, rejected = (text(item(stored, name)) for name in ("chosen", "rejected"))
        yield Pair(asked(item(stored, "question")), chosen, rejected, row["image"])


def _parsed(cell: Cell) -> Cell:
    """The cell with the object that its JSON text means; it is read as strictly as a row of a JSON file."""
    try:
        return cell._replace(value=values_of(text(cell).encode()))
    except ValueError as error:  # a `BadRow`, or a text with half of a character
        raise cell.wrong(f"must be a JSON object in a text: {error}") from error
