"""POPE: is this object in the picture? Yes or no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import PrivateAttr

from mdpo_benchmarks.shares import share
from mdpo_core import (
    Answer,
    AnswerNames,
    Benchmark,
    DataError,
    Problem,
    Question,
    Score,
    StoredRow,
    answers_in_order,
    read_rows,
)

_NO = {"No", "no", "not"}


class Pope(Benchmark):
    """POPE (arXiv:2305.10355): accuracy, precision, recall and F1 of yes/no questions about objects; yes is positive.

    Equal to evaluate.py of RUCAIBox/POPE: an answer says no if one of the words of its first sentence is No, no or not,
    and yes otherwise.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="answer", prompt="question")
    _asks_only: frozenset[str] | None = PrivateAttr(None)

    def files(self) -> Sequence[Path]:
        return [self.required("questions", "the questions, such as coco_pope_random.json")]

    def read_questions(self) -> Sequence[Question]:
        return [Question(each.id, (each.image,), each.text) for each in self._asked()]

    def score(self, answers: Sequence[Answer]) -> Score:
        asked = self._asked()
        [file] = self.files()
        answers = paired(answers, asked, file.name)
        said = ["no" if says_no(answer.response) else "yes" for answer in answers]
        rows = [
            {"id": question.id, "answer": answer.response, "said": guess, "label": question.label}
            for answer, guess, question in zip(answers, said, asked, strict=True)
        ]
        counts = _counts(rows)
        warnings = [f"{name} is 0: it is 0 divided by 0" for name in _undefined(counts)]
        return Score(self.metrics_of(rows), counts, by_row=rows, warnings=warnings)

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        tp, fp, tn, fn = _counts(by_row).values()
        precision, recall = share(tp, tp + fp), share(tp, tp + fn)
        return {
            "accuracy": share(tp + tn, len(by_row)),
            "precision": precision,
            "recall": recall,
            "f1": share(2 * precision * recall, precision + recall),
            "yes_ratio": share(tp + fp, len(by_row)),
        }

    def of_questions(self, ids: Collection[str]) -> Pope:
        part = self.model_copy()
        part._asks_only = frozenset(ids)
        return part

    def _asked(self) -> list[_Asked]:
        [file] = self.files()
        asked = map(_asked_in, read_rows(file))
        return [each for each in asked if self._asks_only is None or each.id in self._asks_only]


class _Asked(NamedTuple):
    id: str
    image: str
    text: str
    label: str


def _asked_in(row: StoredRow) -> _Asked:
    missing = {"question_id", "image", "text", "label"} - row.values.keys()
    if missing:
        raise DataError([Problem(row.where, "", f"is no question of POPE: it lacks {', '.join(sorted(missing))}")])
    if row.values["label"] not in ("yes", "no"):
        raise DataError([Problem(row.where, "label", f"must be yes or no, found {row.values['label']!r}")])
    return _Asked(str(row.values["question_id"]), row.values["image"], row.values["text"], row.values["label"])


def paired(answers: Sequence[Answer], asked: Sequence[_Asked], file: str) -> Sequence[Answer]:
    """The answers in the order of the questions: by their ids, or as the official script, by their lines."""
    if all(answer.id is not None for answer in answers):
        return answers_in_order(answers, [each.id for each in asked], file)
    if len(answers) != len(asked):
        raise DataError(
            f"there are {len(answers):,} answers to the {len(asked):,} questions of {file}, and they have no ids; "
            "POPE pairs them by their lines, so each question needs one"
        )
    for answer, question in zip(answers, asked, strict=True):
        if answer.prompt is not None and answer.prompt.strip() != question.text.strip():
            message = f"answers {answer.prompt!r}, but {file} asks {question.text!r} in this place"
            raise DataError([Problem(answer.where, "", f"{message}; are they the answers to another file?")])
    return answers


def says_no(answer: str) -> bool:
    """Whether an answer counts as a no."""
    sentence, _, _ = answer.partition(".")
    return not _NO.isdisjoint(sentence.replace(",", "").split(" "))


def _counts(by_row: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = Counter((row["said"], row["label"]) for row in by_row)
    kinds = {"TP": ("yes", "yes"), "FP": ("yes", "no"), "TN": ("no", "no"), "FN": ("no", "yes")}
    return {name: found[kind] for name, kind in kinds.items()}


def _undefined(counts: dict[str, int]) -> list[str]:
    """The metrics that the official script cannot compute."""
    said = {"precision": counts["TP"] + counts["FP"], "recall": counts["TP"] + counts["FN"], "f1": counts["TP"]}
    return [name for name, number in said.items() if number == 0]
