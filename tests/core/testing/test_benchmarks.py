"""The contract of benchmarks finds broken ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from mdpo_core import Answer, AnswerNames, Benchmark, Question, Score, answers_in_order
from mdpo_core.testing import check_benchmark


class Sound(Benchmark):
    """Three questions, and how many answers have an even number of letters."""

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="answer", id="id")

    def read_questions(self) -> Sequence[Question]:
        return [Question(str(number), (), f"What is {number}?") for number in range(3)]

    def score(self, answers: Sequence[Answer]) -> Score:
        answers = answers_in_order(answers, ["0", "1", "2"], "questions")
        even = [len(answer.response) % 2 == 0 for answer in answers]
        return Score({"even": sum(even)}, {}, by_row=[{"even": each} for each in even])


class FirstAnswerOnly(Sound):
    def score(self, answers: Sequence[Answer]) -> Score:
        return Score({"letters": len(answers[0].response)}, {})


class TakesStrangers(Sound):
    def score(self, answers: Sequence[Answer]) -> Score:
        return Score({"answers": 3}, {})


class NotANumber(Sound):
    def score(self, answers: Sequence[Answer]) -> Score:
        return Score({"even": float("nan")}, {})


class SameIds(Sound):
    def read_questions(self) -> Sequence[Question]:
        return [Question("0", (), "What is it?")] * 2


class NotJson(Sound):
    def score(self, answers: Sequence[Answer]) -> Score:
        return Score({"even": 1}, {}, by_row=[{"answer": object()}] * 3)


def said(question: Question) -> str:
    return "even" if question.id == "1" else "an odd number" * (int(question.id) + 1)


def test_a_sound_benchmark_passes() -> None:
    check_benchmark(Sound(), said)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (FirstAnswerOnly, "in another order"),
        (TakesStrangers, "two answers to a question"),
        (NotANumber, "even = nan"),
        (SameIds, "two questions with one id"),
        (NotJson, "cannot be written as JSON"),
    ],
)
def test_a_broken_benchmark_is_found(broken: type[Benchmark], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_benchmark(broken(), said)


def test_pope_keeps_the_contract(tmp_path: Path) -> None:
    from mdpo_benchmarks.pope import Pope

    rows = [
        {"question_id": number, "image": "a.jpg", "text": f"Is there a cat {number}?", "label": "yes"}
        for number in range(4)
    ]
    file = tmp_path / "questions.json"
    file.write_text("\n".join(map(json.dumps, rows)))
    check_benchmark(Pope(questions=file), lambda question: "No." if question.id == "2" else "Yes, there is.")
