"""align-anything (arXiv:2412.15838): two answers, and which of them is better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from mdpo_readers.cell_types import text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import choice

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs


class AlignAnything(TableReader):
    """align-anything's text and image pairs: ``{image, question, response_1, response_2, overall_response}``.

    A row whose answers are equally good (0) makes no pair.
    """

    title: ClassVar[str] = "align-anything"
    reads_order: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("question", "response_1", "response_2", "overall_response")
    also: ClassVar[tuple[str, ...]] = ("image",)
    several: ClassVar[bool] = True

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.choices import count_choices

        return count_choices

    def pairs(self, row: Row) -> Iterable[Pair]:
        better = choice(row["overall_response"], (0, 1, 2), "1 or 2, the better response, or 0 if they are equal")
        if better == 0:
            return
        chosen, rejected = (row[f"response_{number}"] for number in (better, 3 - better))
        yield Pair(asked(row["question"]), text(chosen), text(rejected), row["image"])
