"""AMBER's discriminative part: yes/no questions, of which "No" is the positive answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mdpo_benchmarks.amber.annotations import ACTION, EXISTENCE, NUMBER, RELATION, STATE, YesNo

_DIMENSIONS = (STATE, NUMBER, ACTION, RELATION, EXISTENCE)


def _strict(response: str) -> tuple[str | None, bool]:
    """Only Yes and No count, as in the official script."""
    said = {"Yes": "yes", "No": "no"}.get(response)
    return said, said is not None


def _first_word(response: str) -> tuple[str | None, bool]:
    """Yes or no as the first word, in capitals or small letters."""
    found = re.match(r"\W*(yes|no)\b", response.lower())
    return (found[1], True) if found else (None, False)


def _contains(response: str) -> tuple[str | None, bool]:
    """Yes if the answer contains it, else no, as evaluation harnesses do; without either word it is not parsed."""
    lower = response.lower()
    return "yes" if "yes" in lower else "no", "yes" in lower or "no" in lower


# What an answer says, and whether it has one of the words.
_PARSERS: dict[str, Callable[[str], tuple[str | None, bool]]] = {
    "strict": _strict,
    "first_word": _first_word,
    "contains": _contains,
}


def row(question: YesNo, response: str, parser: str) -> dict[str, Any]:
    """What an answer says, for the file of what was found; `count` reads it."""
    said, parsed = _PARSERS[parser](response)
    return {"said": said, "parsed": parsed, "truth": question.truth, "dimension": question.dimension}


def count(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The counters of the official script, without the 0.001 with which it starts each ``num``.

    Those of all questions, and those of each dimension, which begin with its letters. ``rows``: what was found in
    answers; descriptions do not count.
    """
    pairs: dict[str, Counter[tuple[str, str | None]]] = {dimension: Counter() for dimension in _DIMENSIONS}
    for row in rows:
        if "said" in row:
            pairs[row["dimension"]][row["truth"], row["said"]] += 1
    counters = _counters(sum(pairs.values(), Counter()))
    for dimension, own in pairs.items():
        counters |= {f"{dimension}_{name}": number for name, number in _counters(own).items()}
    return counters


def _counters(pairs: Counter[tuple[str, str | None]]) -> dict[str, int]:
    """``pairs``: numbers of (truth, answer)."""
    right_no = pairs["no", "no"]
    return {
        "qa_correct_score": right_no + pairs["yes", "yes"],
        "qa_correct_num": pairs.total(),
        "qa_no_score": right_no,
        "qa_no_num": sum(number for (truth, _), number in pairs.items() if truth == "no"),
        "qa_ans_no_score": right_no,
        "qa_ans_no_num": sum(number for (_, answer), number in pairs.items() if answer == "no"),
    }
