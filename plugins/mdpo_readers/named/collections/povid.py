"""POVID (arXiv:2402.11411) and CSR (arXiv:2405.14622): two whole conversations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from mdpo_readers.conversations import split_alike
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader


class Povid(TableReader):
    """POVID and CSR as published: ``{image, conversations, rejected_conversations}``, with marks as they are written.

    The authors' own loader moves a mark to the front of its message.
    """

    title: ClassVar[str] = "POVID"
    called: ClassVar[tuple[tuple[str, str], ...]] = (("conversations", "rejected_conversations"),)
    nested: ClassVar[tuple[str, ...]] = (
        "conversations",
        "rejected_conversations",
    )
    columns: ClassVar[tuple[str, ...]] = ("image", "conversations", "rejected_conversations")

    def pairs(self, row: Row) -> Iterable[Pair]:
        prompt, chosen, rejected = split_alike(row["conversations"], row["rejected_conversations"])
        yield Pair(prompt, chosen, rejected, row["image"])
