"""VisionArena (arXiv:2412.08687): conversations of a person with two models, and the winner."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.named.cells import first_filled

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs

_TIES = ("tie", "tie (bothbad)", "both_bad")


class Arena(TableReader):
    """VisionArena's battles: ``{images, conversation_a, conversation_b, winner}``, with winner model_a or model_b.

    Pictures may also be parts of the messages, and each message may stand in a list of its own. The last answers are
    compared. A tie makes no pair, nor do conversations whose earlier answers differ.
    """

    title: ClassVar[str] = "VisionArena"
    reads_order: ClassVar[bool] = True
    nested: ClassVar[tuple[str, ...]] = (
        "conversation_a",
        "conversation_b",
    )
    columns: ClassVar[tuple[str, ...]] = ("conversation_a", "conversation_b", "winner")
    also: ClassVar[tuple[str, ...]] = ("images", "image")
    several: ClassVar[bool] = True

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.choices import count_battles

        return partial(count_battles, ties=_TIES)

    def pairs(self, row: Row) -> Iterable[Pair]:
        winner = row["winner"]
        if winner.value in _TIES:
            return
        if winner.value not in ("model_a", "model_b"):
            raise winner.must_be(f"model_a, model_b or a tie ({', '.join(_TIES)})")
        better, worse = ("a", "b") if winner.value == "model_a" else ("b", "a")
        asked = _messages(row[f"conversation_{better}"])
        prompt, chosen = conversations.prompt_and_response(asked)
        other, rejected = conversations.prompt_and_response(_messages(row[f"conversation_{worse}"]))
        if prompt == other:
            yield Pair(prompt, chosen, rejected, first_filled(row, "images", "image"), asked=asked.column)


def _messages(cell: Cell) -> Cell:
    """The messages of a conversation, in one list."""
    if not isinstance(cell.value, list) or not all(isinstance(each, list) for each in cell.value):
        return cell
    return cell._replace(value=[message for each in cell.value for message in each])
