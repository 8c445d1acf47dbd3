"""AMBER's figures, from the counters and with the roundings of its script, under the names that the script prints."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_benchmarks.amber.annotations import ACTION, EXISTENCE, NUMBER, RELATION, STATE

_START = 0.001  # where the script starts each counter that it divides by
_ATTRIBUTES = {"State": STATE, "Number": NUMBER, "Action": ACTION}
# What is printed for a task, and which dimensions of questions it is made of.
_PRINTED: dict[str, dict[str, tuple[str, ...]]] = {
    "d": {"Descriminative Task": ("",)},
    "de": {"Exsitence": (EXISTENCE,)},
    "da": {"Attribute": tuple(_ATTRIBUTES.values()), **{name: (letters,) for name, letters in _ATTRIBUTES.items()}},
    "dr": {"Relation": (RELATION,)},
}


def figures(task: str, descriptions: Mapping[str, int], questions: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """All that the script prints for a task, from the counters of its two parts."""
    found = {"Generative Task": _generative(descriptions)} if task in ("a", "g") else {}
    return found | {name: _discriminative(questions, dimensions) for name, dimensions in _printed(task).items()}


def _generative(counts: Mapping[str, int]) -> dict[str, float]:
    """CHAIR, Cover, Hal and Cog in percent."""
    free = counts["non_hallu_score"] / (counts["non_hallu_num"] + _START) * 100
    return {
        "CHAIR": _percent(counts["chair_score"], counts["chair_num"] + _START),
        "Cover": _percent(counts["safe_cover_score"], counts["safe_cover_num"] + _START),
        "Hal": round(100 - free, 1),
        "Cog": _percent(counts["hallu_cover_score"], counts["hallu_cover_num"] + _START),
    }


def _printed(task: str) -> dict[str, tuple[str, ...]]:
    """The names of the yes/no figures of a task, and the dimensions of each; all dimensions are ``("",)``."""
    parts = ("d", "de", "da", "dr") if task in ("a", "d") else (task,)
    return {name: of for part in parts for name, of in _PRINTED.get(part, {}).items()}


def asks(task: str, dimension: str) -> bool:
    """Whether a task is made of a dimension's questions."""
    return any(of in ((dimension,), ("",)) for of in _printed(task).values())


def _discriminative(counts: Mapping[str, int], dimensions: tuple[str, ...]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 in percent, the last one from the rounded others."""

    def percent(name: str) -> float:
        prefixes = [f"{dimension}_" if dimension else "" for dimension in dimensions]
        score = sum(counts[f"{prefix}{name}_score"] for prefix in prefixes)
        return _percent(score, sum(counts[f"{prefix}{name}_num"] + _START for prefix in prefixes))

    precision, recall = percent("qa_ans_no"), percent("qa_no")
    small = 0.001 if dimensions == (EXISTENCE,) else 0.0001
    return {
        "Accuracy": percent("qa_correct"),
        "Precision": precision,
        "Recall": recall,
        "F1": _f1(precision / 100, recall / 100, small),
    }


def _percent(part: int, whole: float) -> float:
    return round(part / whole * 100, 1)


def _f1(precision: float, recall: float, small: float) -> float:
    """The F1 in percent. ``small`` keeps the denominator above 0."""
    return round(2 * precision * recall / (precision + recall + small) * 100, 1)
