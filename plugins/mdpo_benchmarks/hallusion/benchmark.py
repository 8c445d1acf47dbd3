"""HallusionBench as a benchmark: a judge says which answers are right, or their first yes or no does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from mdpo_benchmarks.hallusion.counts import (
    RIGHT,
    UNCLEAR,
    WRONG,
    Verdict,
    cause,
    causes_of,
    counts_as_correct,
    metrics_and_counts,
    originals_of,
)
from mdpo_benchmarks.hallusion.rows import NUM_ROWS, Row, in_order, read
from mdpo_benchmarks.json_files import read_json
from mdpo_benchmarks.judging.judged import Judged
from mdpo_benchmarks.judging.template import read_template
from mdpo_core import (
    Answer,
    AnswerNames,
    ChatReply,
    DataError,
    JudgeUse,
    Problem,
    Question,
    RecipeError,
    Score,
    StoredRow,
    read_rows,
)

_FILE = "HallusionBench.json"
_WORDS = re.compile(r"[a-z]+")
_NUMBERS = {"0": "no", "1": "yes", "2": None}


class HallusionBench(Judged):
    """HallusionBench (arXiv:2310.14566): yes/no questions whose picture is missing, as it was, or altered.

    Equal to evaluation.py of tianyi-lab/HallusionBench. Its judge says of each answer whether it is correct, and
    whether it says the same as the answer about figure 0. The second question is sent only where a number depends on
    the reply.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="model_prediction", prompt="question")
    instead_of_answers: ClassVar[str | None] = "verdicts"
    official_judge: ClassVar[str] = "gpt-4"
    official_template: ClassVar[str] = "8de88cbb4ba741b76fccf42eccf729a237c28ce9cf11a043878eff1edecf1de4"
    official_same_template: ClassVar[str] = "be30935dc58fcf1a7c0a000a88c407a28f16adffb95ffaa639c5e46348c532a2"

    verdicts: Path | None = Field(
        default=None,
        description="saved verdicts: for each row a list of correctness (1, 0, 2) and same (1, 0), as texts",
    )
    same_template: Path | None = Field(default=None, description="the official template that compares two answers")
    no_judge: bool = Field(default=False, description="take an answer's yes or no for what it says")

    def deviations(self) -> list[str]:
        return [*super().deviations(), *(["no_judge"] if self.no_judge else [])]

    def check(self) -> None:
        if sum((self.judge is not None, self.verdicts is not None, self.no_judge)) != 1:
            raise RecipeError("the benchmark 'hallusionbench' needs one of --judge URL, --verdicts FILE and --no-judge")
        super().check()
        if self.judge is not None:
            read_template(self._same_file(), self.official_same_template, self.custom_template)

    def files(self) -> Sequence[Path]:
        templates = [*super().files(), self._same_file()] if self.judge is not None else []
        others = [file for file in (self.verdicts, self._rows_file()) if file is not None]
        return [*templates, *others]

    def read_questions(self) -> Sequence[Question]:
        file = self._rows_file() or self.required("data", f"the folder with {_FILE}")
        return [Question(row.id, (row.picture,) if row.picture else (), row.question) for row in read(read_rows(file))]

    def score(self, answers: Sequence[Answer]) -> Score:
        rows = self._rows(answers)
        said = in_order(answers, rows, self._name_of_rows()) if answers else None
        found = self._found(rows, said)
        metrics, counts = metrics_and_counts(rows, found.verdicts)
        return Score(
            metrics, counts, found.unparsed, _by_row(rows, said, found.verdicts), _undefined(counts), found.judge
        )

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {"aAcc": 100 * sum(row["correct"] for row in by_row) / len(by_row)}

    def _same_file(self) -> Path:
        return self.required("same_template", "the official template of the message that compares two answers")

    def _rows_file(self) -> Path | None:
        if self.questions is not None or self.data is None:
            return self.questions
        return self.data / _FILE

    def _name_of_rows(self) -> str:
        file = self._rows_file()
        return file.name if file else "the benchmark"

    def _rows(self, answers: Sequence[Answer]) -> list[Row]:
        """The rows of the benchmark; without a file of them, those in the official answer file."""
        file = self._rows_file()
        if file is not None:
            return read(read_rows(file))
        if not answers:
            self.required("data", f"the folder with {_FILE}")
        if len(answers) != NUM_ROWS:
            raise DataError(
                f"there are {len(answers):,} answers, but HallusionBench has {NUM_ROWS:,} rows; if they are of another "
                "set, name it with --questions FILE"
            )
        return read([StoredRow(answer.where, dict(answer.values)) for answer in answers])

    def _found(self, rows: Sequence[Row], said: Sequence[str] | None) -> _Found:
        if self.verdicts is not None:
            return _Found(_saved(self.verdicts, len(rows)), 0, None)
        assert said is not None, "only verdicts may stand for answers"
        return _extracted(rows, said) if self.no_judge else self._judged(rows, said)

    def _judged(self, rows: Sequence[Row], said: Sequence[str]) -> _Found:
        judge, template = self.open_judge(), self.template()
        messages = [template.filled(row.question, row.details, text) for row, text in zip(rows, said, strict=True)]
        replies = judge.ask([self.request(message) for message in messages])
        correctness = [correctness_in(reply.text) for reply in replies]
        right, answered = originals_of(rows, correctness), originals_of(rows, said)
        asked = [index for index, row in enumerate(rows) if _depends_on_same(row, correctness[index], right[row.pair])]
        template = read_template(self._same_file(), self.official_same_template, self.custom_template)
        messages = [template.filled(said[index], answered[rows[index].pair]) for index in asked]
        compared = judge.ask([self.request(message) for message in messages])
        same = {index: "same" in reply.text.lower() for index, reply in zip(asked, compared, strict=True)}
        verdicts = [Verdict(each, same.get(index, False)) for index, each in enumerate(correctness)]
        return _Found(verdicts, _num_unparsed(replies, compared), self.use_of([*replies, *compared]))


class _Found(NamedTuple):
    """Verdicts on all answers, how many could not be parsed, and who gave them."""

    verdicts: Sequence[Verdict]
    unparsed: int
    judge: JudgeUse | None


def correctness_in(reply: str) -> str:
    """What a judge's reply says about an answer, as the official script reads it."""
    lower = reply.lower()
    if "incorrect" in lower:
        return WRONG
    return RIGHT if "correct" in lower else UNCLEAR


def said_in(answer: str) -> str | None:
    """The yes or no that an answer consists of or contains; None: neither or both. 0, 1 and 2 are no, yes, neither."""
    if answer.strip() in _NUMBERS:
        return _NUMBERS[answer.strip()]
    found = {"yes", "no"}.intersection(_WORDS.findall(answer.lower()))
    return found.pop() if len(found) == 1 else None


def _extracted(rows: Sequence[Row], said: Sequence[str]) -> _Found:
    found = [said_in(answer) for answer in said]
    originals = {row.pair: each for row, each in zip(rows, found, strict=True) if row.is_original}
    verdicts = []
    for row, each in zip(rows, found, strict=True):
        right = RIGHT if (each == "yes") == row.truth else WRONG
        verdicts.append(Verdict(UNCLEAR if each is None else right, each == originals[row.pair]))
    return _Found(verdicts, found.count(None), None)


def _saved(file: Path, num_rows: int) -> list[Verdict]:
    stored = read_json(file, list, "verdicts")
    if len(stored) != num_rows:
        raise DataError(f"{file.name} has {len(stored):,} verdicts on the answers to {num_rows:,} rows")
    for number, each in enumerate(stored, 1):
        if not (isinstance(each, list) and len(each) == 2 and each[0] in ("0", "1", "2") and each[1] in ("0", "1")):
            message = f'must be ["1" | "0" | "2", "1" | "0"], found {str(each)[:40]!r}'
            raise DataError([Problem(f"{file.name} row {number}", "", message)])
    return [Verdict(correctness, same == "1") for correctness, same in stored]


def _depends_on_same(row: Row, correctness: str, original: str) -> bool:
    """Whether any number depends on whether the answer is the same as that about figure 0."""
    return cause(row, Verdict(correctness, True), original) != cause(row, Verdict(correctness, False), original)


def _num_unparsed(replies: Sequence[ChatReply], compared: Sequence[ChatReply]) -> int:
    """The replies in which no expected word is."""
    expected = (("correct", "unclear"), ("same", "different"))
    return sum(
        not any(word in reply.text.lower() for word in words)
        for words, part in zip(expected, (replies, compared), strict=True)
        for reply in part
    )


def _by_row(rows: Sequence[Row], said: Sequence[str] | None, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    causes = causes_of(rows, verdicts)
    found = [
        {
            "id": row.id,
            "correctness": verdict.correctness,
            "correct": counts_as_correct(row, verdict.correctness),
            "same": verdict.same,
            "due_to": due_to,
        }
        for row, verdict, due_to in zip(rows, verdicts, causes, strict=True)
    ]
    if said is None:
        return found
    return [{**each, "answer": text} for each, text in zip(found, said, strict=True)]


def _undefined(counts: Mapping[str, Any]) -> list[str]:
    """The metrics that the official script cannot compute."""
    wholes = {
        "fAcc": counts["figure"]["total"],
        "easy_aAcc": counts["easy"]["total"],
        "hard_aAcc": counts["hard"]["total"],
        "fp_ratio": counts["all"]["wrong"],
        "LH, VI and Mixed": counts["all"]["wrong"],
    }
    return [f"{name}: 0, since it is 0 divided by 0" for name, whole in wholes.items() if whole == 0]
