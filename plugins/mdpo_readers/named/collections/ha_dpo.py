"""HA-DPO (arXiv:2311.16839): descriptions and answers about pictures of Visual Genome, right and hallucinated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import Turn
from mdpo_readers.cell_types import Cell, question, shown, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import item
from mdpo_readers.named.cells import first_filled
from mdpo_readers.named.visual_genome import picture_of

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs

_DESCRIBE = "Describe this image in detail."


class HaDpo(TableReader):
    """HA-DPO as published: ``{image_id, chosen, rejected}``, descriptions, or also ``question``, as in its POPE data.

    ``chosen`` and ``rejected`` (or ``reject``) are answers or lists of them, of which the first is compared with the
    first, and so on; an answer may be ``{question, answer}``. Without a question it is one of the authors': "Describe
    this image in detail." The picture is ``image_id.jpg`` in ``VG_100K``, ``VG_100K_2`` or ``images`` itself.
    """

    title: ClassVar[str] = "HA-DPO"
    called: ClassVar[tuple[tuple[str, str], ...]] = (("chosen", "reject"),)
    nested: ClassVar[tuple[str, ...]] = (
        "chosen",
        "rejected",
        "reject",
    )
    columns: ClassVar[tuple[str, ...]] = ("image_id", "chosen")
    also: ClassVar[tuple[str, ...]] = ("question", "rejected", "reject")
    several: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        # SeVa has the same columns, with the names of files.
        has_answers = "chosen" in columns and ("rejected" in columns or "reject" in columns)
        return "image_id" in columns and has_answers and not Path(str(first.get("image_id"))).suffix

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.answers import count_answers

        return count_answers

    def pairs(self, row: Row) -> Iterable[Pair]:
        chosen = _answers(row["chosen"])
        other = first_filled(row, "rejected", "reject")
        rejected = _answers(other)
        if len(chosen) != len(rejected):
            raise other.wrong(
                f"has {len(rejected)} answers, and 'chosen' has {len(chosen)}; they are compared in order"
            )
        picture = picture_of(row["image_id"], self.images)
        for better, worse in zip(chosen, rejected, strict=True):
            prompt = (Turn("user", _question(row, better, worse)),)
            yield Pair(prompt, _text(better), _text(worse), picture)


def _answers(cell: Cell) -> Sequence[Cell]:
    if not isinstance(cell.value, list):
        return [cell]
    return [cell._replace(column=f"{cell.column}[{place}]", value=each) for place, each in enumerate(cell.value)]


def _question(row: Row, *answers: Cell) -> str:
    """The one question, which the row and each of the answers may have. Raises `DataError` if two differ."""
    own = [item(answer, "question") for answer in answers if isinstance(answer.value, dict)]
    asked = [each for each in (*own, row["question"]) if each.value]
    for each in asked[1:]:
        if text(each) != text(asked[0]):
            raise each.wrong(
                f"asks {shown(each.value)}, and '{asked[0].column}' asks {shown(asked[0].value)}; answers to different "
                "questions make no pair: mend one, or remove the row"
            )
    if not asked and "question" in row:
        return question(row["question"])
    return question(asked[0]) if asked else _DESCRIBE


def _text(answer: Cell) -> str:
    return text(item(answer, "answer") if isinstance(answer.value, dict) else answer)
