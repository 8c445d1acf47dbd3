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
    other_answer_names: ClassVar[tuple[AnswerNames, ...]] = (
        AnswerNames(response="text", id="question_id", prompt="prompt"),  # eval_pope.py of LLaVA
    )
    _asks_only: frozenset[str] | None = PrivateAttr(None)

    def files(self) -> Sequence[Path]:
        return [self.required("questions", "the questions, such as coco_pope_random.json")]

    def read_questions(self) -> Sequence[Question]:
        return [Question(each.id, (each.image,), each.text) for each in self._asked()]

    def score(self, answers: Sequence[Answer]) -> Score:
        asked = self._asked()
        [file] = self.files()
        of_file = of_category(answers, file)
        others = len(answers) - len(of_file)
        answers = paired(of_file, asked, file.name)
        said = ["no" if says_no(answer.response) else "yes" for answer in answers]
        rows = [
            {"id": question.id, "answer": answer.response, "said": guess, "label": question.label}
            for answer, guess, question in zip(answers, said, asked, strict=True)
        ]
        counts = _counts(rows)
        warnings = [f"{name} is 0: it is 0 divided by 0" for name in _undefined(counts)]
        if others:
            warnings.append(
                f"{others:,} answers are to questions of other categories than {file.name}; they do not count"
            )
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


def of_category(answers: Sequence[Answer], file: Path) -> Sequence[Answer]:
    """Those answers that belong to a question file: a harness asks the questions of several in one go.

    Their rows name a category, such as ``popular``, which is a part of the file's name; or several, with commas, if
    those files share the question. Raises `DataError` if there are several of which the file's name has none.
    """
    if not all("category" in answer.values for answer in answers):
        return answers
    of_each = [{name.strip() for name in str(answer.values["category"]).split(",")} for answer in answers]
    categories = set[str]().union(*of_each)
    named = categories & set(file.stem.split("_"))
    if len(categories) > 1 and len(named) != 1:
        found = f"the answers are of the categories {', '.join(sorted(categories))}"
        raise DataError(f"{found}; the name of {file.name} must have one of them, so that it tells which ones to score")
    kept = [answer for answer, own in zip(answers, of_each, strict=True) if not named or named & own]
    # The ids of a harness count through all categories; question_id, where there is one, is that of the file.
    ids = [answer.values.get("question_id") for answer in kept]
    return [answer._replace(id=None if id is None else str(id)) for answer, id in zip(kept, ids, strict=True)]


def paired(answers: Sequence[Answer], asked: Sequence[_Asked], file: str) -> Sequence[Answer]:
    """The answers in the order of the questions: by their ids, or as the official script, by their lines.

    LLaVA's ids are those of a file of its own with all questions; such answers are paired by their lines, too, if they
    say what they answer. Raises `DataError` for answers to other questions, or another number of them.
    """
    ids = [each.id for each in asked]
    says_prompts = all(answer.prompt is not None for answer in answers)
    known = {answer.id for answer in answers} & set(ids)
    if known or not (says_prompts or all(answer.id is None for answer in answers)):
        answers = answers_in_order(answers, ids, file)
    if len(answers) != len(asked):
        raise DataError(
            f"there are {len(answers):,} answers to the {len(asked):,} questions of {file}, and they have no ids of "
            "it; POPE pairs them by their lines, so each question needs one"
        )
    if all("category" in answer.values and answer.id is None for answer in answers):
        answers = _by_question(answers, asked)
    for answer, question in zip(answers, asked, strict=True):
        _require_answer_to(question, answer, file)
    return answers


def _by_question(answers: Sequence[Answer], asked: Sequence[_Asked]) -> Sequence[Answer]:
    """The answers in the order of the questions, if each question has one; else as they are.

    VLMEvalKit asks a question that several files share once, so that its rows have an order of their own. The text and
    the right answer tell them apart: of two questions with the same ones it does not matter which answer is whose.
    """
    waiting: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        waiting.setdefault((str(answer.prompt).strip(), str(answer.values.get("answer")).lower()), []).append(answer)
    ordered = []
    for question in asked:
        same = waiting.get((question.text.strip(), question.label))
        if not same:
            return answers
        ordered.append(same.pop(0))
    return ordered


def _require_answer_to(question: _Asked, answer: Answer, file: str) -> None:
    text = question.text.strip()
    if "label" in answer.values and answer.response.strip() == text:
        raise DataError([Problem(answer.where, "", f"holds the question {text!r} where its answer should be")])
    said_to = answer.values.get("text") if answer.prompt is None else answer.prompt
    if isinstance(said_to, str) and said_to != answer.response and text not in said_to:
        message = f"answers {said_to!r}, but {file} asks {text!r} in this place"
        raise DataError([Problem(answer.where, "", f"{message}; are they the answers to another file?")])


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
