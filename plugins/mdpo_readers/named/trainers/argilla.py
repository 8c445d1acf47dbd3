"""Records that Argilla exports: two answers, and which of them people preferred."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from mdpo_core import IMAGE_MARK
from mdpo_readers.cell_types import Cell, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import is_filled

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs

_TAG = re.compile(r"""<img\b[^>]*?\bsrc\s*=\s*(["'])(.*?)\1[^>]*>""", re.DOTALL | re.IGNORECASE)


class Argilla(TableReader):
    """Argilla's records, flattened: the fields, and ``QUESTION.responses`` with the names of the preferred fields.

    The answer that more people chose is the chosen one. A record without a response, or with as many votes for each
    answer, makes no pair. A picture is in ``image``, or in the text of the prompt: ``<img src="...">``.
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

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.choices import count_votes

        return count_votes

    def pairs(self, row: Row) -> Iterable[Pair]:
        votes = _votes(row["preference.responses"], row["preference.responses.status"])
        first, second = votes["response_1"], votes["response_2"]
        if first == second:
            return
        chosen, rejected = ("response_1", "response_2") if first > second else ("response_2", "response_1")
        prompt, pictures = _shown(row["prompt"], row["image"])
        yield Pair(asked(prompt), text(row[chosen]), text(row[rejected]), pictures)


def _shown(prompt: Cell, image: Cell) -> tuple[Cell, Cell]:
    """The prompt with a mark for each picture in its text, as Argilla's ``image_to_html`` writes them; the pictures."""
    found = _TAG.findall(prompt.value) if isinstance(prompt.value, str) else []
    if not found:
        return prompt, image
    if is_filled(image.value):
        raise prompt.wrong("shows a picture in its text (<img>), and 'image' is filled, too; keep one of them")
    inside = [file for _, file in found]
    return prompt._replace(value=_TAG.sub(IMAGE_MARK, prompt.value)), prompt._replace(value=inside)


def _votes(responses: Cell, states: Cell) -> Counter[str]:
    """How often each answer was preferred in a response that was submitted."""
    names = [] if responses.value is None else responses.value
    if not isinstance(names, list) or any(name not in ("response_1", "response_2") for name in names):
        raise responses.must_be("a list of response_1 and response_2")
    known = [None] * len(names) if states.value is None else states.value
    if not isinstance(known, list) or len(known) != len(names):
        raise states.must_be(f"a list with a status for each of the {len(names)} responses")
    return Counter(name for name, state in zip(names, known, strict=True) if state in (None, "submitted"))
