"""BPO (arXiv:2403.08730): the annotated answer, and answers with injected errors, each with a score."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import ExampleField, Prompt
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, number_or_text, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked, item
from mdpo_readers.named.cells import first_filled, objects
from mdpo_readers.named.rated import Rated, all_pairs, has_score, pair_of

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs


class Bpo(TableReader):
    """BPO as published: ``{image, completions}`` with ``conversations``, ``prompt`` or ``question``.

    A completion is ``{response, score, type}``. Every two with different scores make a pair.
    """

    title: ClassVar[str] = "BPO"
    reads_order: ClassVar[bool] = True
    nested: ClassVar[tuple[str, ...]] = (
        "conversations",
        "completions",
    )
    columns: ClassVar[tuple[str, ...]] = ("image", "completions")
    also: ClassVar[tuple[str, ...]] = ("conversations", "prompt", "question")
    several: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        answers = first.get("completions")
        return "image" in columns and bool(answers) and isinstance(answers, list) and has_score(answers[0])

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {"responses": ("chosen", "rejected"), "columns": ("chosen_score", "rejected_score")}

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.scores import count_scored

        return count_scored

    def pairs(self, row: Row) -> Iterable[Pair]:
        prompt = _prompt(first_filled(row, "conversations", "prompt", "question"))
        for better, worse in all_pairs(list(_rated(row["completions"]))):
            yield pair_of(prompt, better, worse, row["image"])


def _prompt(cell: Cell) -> Prompt:
    return conversations.prompt(cell) if isinstance(cell.value, list) else asked(cell)


def _rated(cell: Cell) -> Iterator[Rated]:
    for each in objects(cell, "an answer: {response, score}"):
        yield Rated(text(item(each, "response")), number_or_text(item(each, "score")))
