"""AMBER step by step, as its paper's script goes through the answers: one counter after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LETTERS = {
    "discriminative-attribute-state": "as_",
    "discriminative-attribute-number": "an_",
    "discriminative-attribute-action": "aa_",
    "discriminative-hallucination": "ha_",
    "discriminative-relation": "asso_",
    "relation": "asso_",
}


def plain_amber(
    annotations: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    related: Mapping[str, Sequence[str]],
    safe: Sequence[str],
    similar: Mapping[frozenset[str], float],
    threshold: float,
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """All that is printed for ``a``, and the counters. ``answers``: id, response, and nouns of descriptions."""
    counters = {f"{letters}{name}_score": 0.0 for letters in ("", *_LETTERS.values()) for name in _QA}
    counters |= {f"{letters}{name}_num": 0.001 for letters in ("", *_LETTERS.values()) for name in _QA}
    for name in ("chair", "safe_cover", "hallu_cover", "non_hallu"):
        counters |= {f"{name}_score": 0.0, f"{name}_num": 0.001}
    for answer in answers:
        row = annotations[answer["id"] - 1]
        if row["type"] == "generative":
            _describe(row, answer["nouns"], related, safe, similar, threshold, counters)
        else:
            for letters in ("", _LETTERS[row["type"]]):
                _ask(row["truth"], answer["response"], letters, counters)
    return _printed(counters), counters


_QA = ("qa_correct", "qa_no", "qa_ans_no")


def _ask(truth: str, response: str, letters: str, counters: dict[str, float]) -> None:
    counters[f"{letters}qa_correct_num"] += 1
    if truth == "no":
        counters[f"{letters}qa_no_num"] += 1
    if response == "No":
        counters[f"{letters}qa_ans_no_num"] += 1
    if truth == "no" and response == "No":
        counters[f"{letters}qa_no_score"] += 1
        counters[f"{letters}qa_ans_no_score"] += 1
    if (truth, response) in (("yes", "Yes"), ("no", "No")):
        counters[f"{letters}qa_correct_score"] += 1


def _describe(
    row: Mapping[str, Any],
    nouns: Sequence[str],
    related: Mapping[str, Sequence[str]],
    safe: Sequence[str],
    similar: Mapping[frozenset[str], float],
    threshold: float,
    counters: dict[str, float],
) -> None:
    known = [word for key in related for word in [key, *related[key]]]
    truth_words, truth_of = _words(row["truth"], related)
    hallu_words, hallu_of = _words(row["hallu"], related)
    covered, marked = [0] * len(row["truth"]), [0] * len(row["hallu"])
    hallucinated = 0

    def near(one: str, other: str) -> bool:
        return (1.0 if one == other else similar.get(frozenset((one, other)), 0.0)) > threshold

    for noun in nouns:
        if noun not in known:
            continue
        counters["chair_num"] += 1
        if noun in safe:
            continue
        if noun in truth_words:
            covered[truth_of[truth_words.index(noun)]] = 1
            continue
        if noun in hallu_words:
            marked[hallu_of[hallu_words.index(noun)]] = 1
        for word, place in zip(hallu_words, hallu_of, strict=True):
            if near(noun, word):
                marked[place] = 1
                break
        for word, place in zip(truth_words, truth_of, strict=True):
            if near(noun, word):
                covered[place] = 1
                break
        else:
            hallucinated += 1
    counters["chair_score"] += hallucinated
    counters["safe_cover_score"] += sum(covered)
    counters["safe_cover_num"] += len(covered)
    counters["hallu_cover_score"] += sum(marked)
    counters["hallu_cover_num"] += len(marked)
    counters["non_hallu_score"] += hallucinated == 0
    counters["non_hallu_num"] += 1


def _words(objects: Sequence[str], related: Mapping[str, Sequence[str]]) -> tuple[list[str], list[int]]:
    words, places = [], []
    for place in range(len(objects)):
        for word in related[objects[place]]:
            words.append(word)
            places.append(place)
    return words + list(objects), places + list(range(len(objects)))


def _printed(counters: Mapping[str, float]) -> dict[str, dict[str, float]]:
    def rate(*names: str) -> float:
        parts, wholes = [f"{name}_score" for name in names], [f"{name}_num" for name in names]
        return sum(counters[part] for part in parts) / sum(counters[whole] for whole in wholes) * 100

    def questions(small: float, *letters: str) -> dict[str, float]:
        precision = round(rate(*(f"{each}qa_ans_no" for each in letters)), 1)
        recall = round(rate(*(f"{each}qa_no" for each in letters)), 1)
        f1 = 2 * (precision / 100) * (recall / 100) / ((precision / 100) + (recall / 100) + small) * 100
        accuracy = round(rate(*(f"{each}qa_correct" for each in letters)), 1)
        return {"Accuracy": accuracy, "Precision": precision, "Recall": recall, "F1": round(f1, 1)}

    return {
        "Generative Task": {
            "CHAIR": round(rate("chair"), 1),
            "Cover": round(rate("safe_cover"), 1),
            "Hal": round(100 - rate("non_hallu"), 1),
            "Cog": round(rate("hallu_cover"), 1),
        },
        "Descriminative Task": questions(0.0001, ""),
        "Exsitence": questions(0.001, "ha_"),
        "Attribute": questions(0.0001, "as_", "an_", "aa_"),
        "State": questions(0.0001, "as_"),
        "Number": questions(0.0001, "an_"),
        "Action": questions(0.0001, "aa_"),
        "Relation": questions(0.0001, "asso_"),
    }
