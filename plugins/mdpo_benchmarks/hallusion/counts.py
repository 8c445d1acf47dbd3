"""The numbers of HallusionBench: what is right by question, pair and figure, and what the rest is due to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mdpo_benchmarks.hallusion.rows import Row
from mdpo_benchmarks.shares import share

RIGHT, WRONG, UNCLEAR = "1", "0", "2"
# What a wrong answer is due to: the language (it follows what it knows, not the picture), the vision, or either.
LANGUAGE, VISION, MIXED = "LH", "VI", "Mix"
_CAUSES = (LANGUAGE, VISION, MIXED)


class Verdict(NamedTuple):
    """On an answer. ``same``: whether it says the same as the answer to the same question about figure 0."""

    correctness: str
    same: bool


def counts_as_correct(row: Row, correctness: str) -> bool:
    """Whether an answer counts as correct: without a picture, "unclear" does, too."""
    return correctness == RIGHT or (correctness == UNCLEAR and row.is_original and not row.needs_picture)


def cause(row: Row, verdict: Verdict, original: str) -> str | None:
    """What a wrong answer in a pair is due to; ``original``: the correctness of that to figure 0."""
    if counts_as_correct(row, verdict.correctness):
        return None
    if row.needs_picture:
        misled = not row.is_original and original == RIGHT and verdict == (WRONG, True)
        return MIXED if misled else VISION
    if row.is_original:
        return LANGUAGE
    if original == WRONG:
        return LANGUAGE if verdict == (WRONG, True) else MIXED
    keeps_to_language = original == RIGHT and row.visual_input == "2" and verdict == (WRONG, True)
    return LANGUAGE if keeps_to_language else VISION


def _cause_alone(row: Row, correctness: str) -> str | None:
    """What a wrong answer is due to if nothing else is known."""
    if correctness == RIGHT:
        return None
    if row.needs_picture:
        return VISION if row.is_original or correctness == UNCLEAR else MIXED
    if row.visual_input == "0":
        return LANGUAGE if correctness == WRONG else None
    return MIXED if correctness == WRONG else VISION


def causes_of(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> list[str | None]:
    """What each wrong answer is due to; None: it is correct."""
    originals = originals_of(rows, [verdict.correctness for verdict in verdicts])
    return [cause(row, verdict, originals[row.pair]) for row, verdict in zip(rows, verdicts, strict=True)]


def originals_of(rows: Sequence[Row], values: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Of each pair the value of its row with figure 0."""
    return {row.pair: value for row, value in zip(rows, values, strict=True) if row.is_original}


def metrics_and_counts(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics, rounded where the official script rounds, and what they are made of."""
    correct = [counts_as_correct(row, verdict.correctness) for row, verdict in zip(rows, verdicts, strict=True)]
    pairs = _pairs(rows, correct, causes_of(rows, verdicts))
    groups = {
        "pair": _whole((row.pair, right) for row, right in zip(rows, correct, strict=True)),
        "easy": _whole((row.pair, right) for row, right in zip(rows, correct, strict=True) if row.visual_input != "2"),
        "hard": _whole((row.pair, right) for row, right in zip(rows, correct, strict=True) if row.visual_input == "2"),
        "figure": _whole(
            (row.figure, right)
            for row, right in zip(rows, correct, strict=True)
            if row.needs_picture or not row.is_original
        ),
    }
    counts = {
        "all": _all(rows, verdicts, correct),
        "pair": {**groups["pair"].counts(), "total_q": len(rows), **pairs},
        "easy": groups["easy"].counts(),
        "hard": groups["hard"].counts(),
        "figure": {**groups["figure"].counts(), "inconsistent": groups["figure"].inconsistent},
        "figure_score": groups["figure"].mean,
    }
    return {**_metrics(counts), **_bias(rows, correct)}, counts


class _Groups(NamedTuple):
    """Rows in groups. ``inconsistent``: with right and wrong answers; ``mean``: of their shares of right ones."""

    total: int
    correct: int
    inconsistent: int
    mean: float

    def counts(self) -> dict[str, int]:
        return {"total": self.total, "correct": self.correct, "wrong": self.total - self.correct}


def _whole(found: Iterable[tuple[tuple[str, ...], bool]]) -> _Groups:
    """Groups count as correct if all of their rows are. ``found``: the group of each row, and whether it is right."""
    groups: dict[tuple[str, ...], list[bool]] = {}
    for name, right in found:
        groups.setdefault(name, []).append(right)
    correct = sum(all(each) for each in groups.values())
    some = sum(any(each) for each in groups.values())
    shares = sum(sum(each) / len(each) for each in groups.values())
    return _Groups(len(groups), correct, some - correct, share(shares, len(groups)))


def _pairs(rows: Sequence[Row], correct: Sequence[bool], causes: Sequence[str | None]) -> dict[str, int]:
    """What wrong pairs are due to: to the language, the vision, or to both; ``_cg``: the same of single answers."""
    of_pair: dict[tuple[str, ...], set[str]] = {}
    for row, due_to in zip(rows, causes, strict=True):
        if due_to is not None:
            of_pair.setdefault(row.pair, set()).update((LANGUAGE, VISION) if due_to == MIXED else (due_to,))
    pairs = Counter(MIXED if len(found) == 2 else min(found) for found in of_pair.values())
    single = Counter(causes)
    return {**{name: pairs[name] for name in _CAUSES}, **{f"{name}_cg": single[name] for name in _CAUSES}}


def _all(rows: Sequence[Row], verdicts: Sequence[Verdict], correct: Sequence[bool]) -> dict[str, int]:
    alone = Counter(_cause_alone(row, verdict.correctness) for row, verdict in zip(rows, verdicts, strict=True))
    total, right = len(rows), sum(correct)
    return {**{name: alone[name] for name in _CAUSES}, "total": total, "correct": right, "wrong": total - right}


def _metrics(counts: Mapping[str, Any]) -> dict[str, float]:
    every, pair, figure = counts["all"], counts["pair"], counts["figure"]
    causes = sum(pair[f"{name}_cg"] for name in _CAUSES)
    return {
        "qAcc": _percent(pair["correct"], pair["total"]),
        "fAcc": _percent(figure["correct"], figure["total"]),
        "easy_aAcc": _percent(counts["easy"]["correct"], counts["easy"]["total"]),
        "hard_aAcc": _percent(counts["hard"]["correct"], counts["hard"]["total"]),
        "aAcc": _percent(every["correct"], every["total"]),
        "consistency_correct": _percent(figure["correct"], figure["total"]),
        "consistency_inconsistent": _percent(figure["inconsistent"], figure["total"]),
        "consistency_wrong": _percent(figure["wrong"] - figure["inconsistent"], figure["total"]),
        "LH": _percent(pair["LH_cg"], causes),
        "VI": _percent(pair["VI_cg"], causes),
        "Mixed": _percent(pair["Mix_cg"], causes),
    }


def _bias(rows: Sequence[Row], correct: Sequence[bool]) -> dict[str, float]:
    """The bias to yes: how much more often it is said than right, and the share of wrong answers that say it."""
    said_yes = sum(right == row.truth for row, right in zip(rows, correct, strict=True))
    wrong = [row.truth for row, right in zip(rows, correct, strict=True) if not right]
    return {
        "pct_diff": share(said_yes, len(rows)) - share(sum(row.truth for row in rows), len(rows)),
        "fp_ratio": share(len(wrong) - sum(wrong), len(wrong)),
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 4) if whole else 0.0
