"""Rated answers to one question, and the pairs that they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mdpo_core import Prompt
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.pair import Pair


class Rated(NamedTuple):
    """An answer and its rating; a higher one is better."""

    answer: str
    score: float


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
