"""Records that Argilla exports: two answers, and which of them people preferred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

from mdpo_readers.cell_types import Cell, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked


class Argilla(TableReader):
    """Argilla's records, flattened: the fields, and ``QUESTION.responses`` with the names of the preferred fields.

    The answer that more people chose is the chosen one. A record without a response, or with as many votes for each
    answer, makes no pair.
    """

    title: ClassVar[str] = "Argilla's records"
    reads_order: ClassVar[bool] = True
    nested: ClassVar[tuple[str, ...]] = (
        "preference.responses",
        "preference.responses.status",
    )
    columns: ClassVar[tuple[str, ...]] = ("prompt", "response_1", "response_2", "preference.responses")
    also: ClassVar[tuple[str, ...]] = ("image", "preference.responses.status")
    several: ClassVar[bool] = True
    mark_ending: ClassVar[str] = ""

    def pairs(self, row: Row) -> Iterable[Pair]:
        votes = _votes(row["preference.responses"], row["preference.responses.status"])
        first, second = votes["response_1"], votes["response_2"]
        if first == second:
            return
        chosen, rejected = ("response_1", "response_2") if first > second else ("response_2", "response_1")
        yield Pair(asked(row["prompt"]), text(row[chosen]), text(row[rejected]), row["image"])


def _votes(responses: Cell, states: Cell) -> Counter[str]:
    """How often each answer was preferred in a response that was submitted."""
    names = [] if responses.value is None else responses.value
    if not isinstance(names, list) or any(name not in ("response_1", "response_2") for name in names):
        raise responses.must_be("a list of response_1 and response_2")
    known = [None] * len(names) if states.value is None else states.value
    if not isinstance(known, list) or len(known) != len(names):
        raise states.must_be(f"a list with a status for each of the {len(names)} responses")
    return Counter(name for name, state in zip(names, known, strict=True) if state in (None, "submitted"))
