"""Rated answers to one question, and the pairs that they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from mdpo_core import Prompt
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.pair import Pair, Row

LOWEST, HIGHEST = 1, 5  # of the ratings in VLFeedback


class Rated(NamedTuple):
    """An answer and its rating; a higher one is better."""

    answer: str
    score: float


def has_score(answer: Any) -> bool:
    """Whether a stored answer is an object with a score."""
    return isinstance(answer, dict) and "score" in answer


def all_pairs(answers: Sequence[Rated]) -> Iterator[tuple[Rated, Rated]]:
    """Every two answers with different ratings, the better first."""
    for place, one in enumerate(answers):
        for other in answers[place + 1 :]:
            if one.score != other.score:
                yield (one, other) if one.score > other.score else (other, one)


def best_over_worst(answers: Sequence[Rated]) -> Iterator[tuple[Rated, Rated]]:
    """The best answer and the worst one; nothing if all are rated alike."""
    if answers:
        best, worst = (choose(answers, key=lambda rated: rated.score) for choose in (max, min))
        if best.score > worst.score:
            yield best, worst


def pair_of(prompt: Prompt, better: Rated, worse: Rated, images: Cell) -> Pair:
    """A pair with the ratings of both answers as columns."""
    scores = {"chosen_score": better.score, "rejected_score": worse.score}
    return Pair(prompt, better.answer, worse.answer, images, columns=scores)


def require_better(row: Row, chosen: str, rejected: str, best: Literal["highest", "lowest"] = "highest") -> None:
    """Raise `DataError` if the numbers in two columns do not say that the chosen answer is the better one.

    A row without one of them says nothing.
    """
    if chosen not in row or rejected not in row:
        return
    better, worse = row.number(chosen), row.number(rejected)
    if (better > worse) if best == "highest" else (better < worse):
        return
    if better == worse:
        remedy = "no answer is better: remove the row"
    else:
        scale = "a higher number is better" if best == "highest" else "1 is the best rank"
        remedy = f"{scale}: swap the answers, or remove the row"
    compared = "as is" if better == worse else "worse than"
    raise row[chosen].wrong(f"is {better:g}, {compared} '{rejected}' ({worse:g}); {remedy}")
