"""LLaVA-RLHF (arXiv:2309.14525): a conversation, two outputs, and which of them people preferred."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.formats.written import message_in
from mdpo_readers.messages import item
from mdpo_readers.named.cells import choice


class LlavaRlhf(TableReader):
    """LLaVA-RLHF as published: ``{image, conversations, output_1, output_2, preference}``, with preference 1 or 2."""

    title: ClassVar[str] = "LLaVA-RLHF"
    reads_order: ClassVar[bool] = True
    nested: ClassVar[tuple[str, ...]] = ("conversations",)
    columns: ClassVar[tuple[str, ...]] = ("conversations", "output_1", "output_2", "preference")
    also: ClassVar[tuple[str, ...]] = ("image",)

    def pairs(self, row: Row) -> Iterable[Pair]:
        better = choice(row["preference"], (1, 2), "1 or 2, the output that was preferred")
        prompt = conversations.prompt(row["conversations"])
        chosen, rejected = (_output(row[f"output_{number}"]) for number in (better, 3 - better))
        yield Pair(prompt, chosen, rejected, row["image"])


def _output(cell: Cell) -> str:
    """The text of an output, which is a message of the model's own name."""
    cell = cell._replace(value=message_in(cell.value))
    return text(item(cell, "value") if isinstance(cell.value, dict) else cell)
