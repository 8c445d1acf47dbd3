"""MME: yes/no questions, two about each picture. Its hallucination subset: existence, count, position and color."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mdpo_benchmarks.shares import share
from mdpo_core import (
    Answer,
    AnswerNames,
    Benchmark,
    DataError,
    Problem,
    Question,
    RecipeError,
    Score,
    answers_in_order,
)

_SUBSET = ("existence", "count", "position", "color")
_PERCEPTION = (*_SUBSET, "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_TASKS = (*_PERCEPTION, *_COGNITION)
_COLUMNS = ("picture", "question", "right answer", "prediction")
_READ = 4  # characters of an answer that count


class MME(Benchmark):
    """MME (arXiv:2306.13394): a task's score is the share of right answers plus that of pictures with two right ones.

    Both in percent, so that a task has at most 200. Equal to calculation.py of the benchmark. Answers are a folder of
    files TASK.txt with the columns picture, question, right answer and prediction, parted by tabs.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="response", id="id", prompt="prompt")

    def check(self) -> None:
        if self.questions is not None and not self.files():
            raise RecipeError(f"--questions: '{self.questions}' is no folder of files such as existence.txt")

    def files(self) -> Sequence[Path]:
        return [] if self.questions is None else _files(self.questions)

    def read_questions(self) -> Sequence[Question]:
        return [Question(each.id, (f"{each.task}/{each.picture}",), each.text) for each in self._asked()]

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        """The answers in the files of a folder; a file is read like those of all benchmarks."""
        if not path.is_dir():
            return None
        lines = [line for file in _files(path) for line in _lines(file, len(_COLUMNS))]
        if not lines:
            raise DataError(f"the folder '{path}' has no file of answers, such as existence.txt")
        return [Answer(where, None, columns[1], columns[3], _described(where, columns)) for where, columns in lines]

    def score(self, answers: Sequence[Answer]) -> Score:
        rows = _rows(self._paired(answers))
        others = [task for task in _TASKS if task not in {row["task"] for row in rows}]
        missing = [task for task in others if task in _SUBSET]
        if missing:
            raise DataError(f"there are no answers to {', '.join(missing)}, which the hallucination subset needs")
        note = f"no answers to {', '.join(others)}; the totals that need them are left out"
        return Score(
            self.metrics_of(rows),
            _counts(rows),
            unparsed=sum(row["said"] == "other" for row in rows),
            by_row=rows,
            warnings=[note] if others else [],
        )

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        scores = {
            task: 100 * share(each["right"], each["rows"]) + 100 * share(each["both_right"], each["rows"])
            for task, each in _counts(by_row).items()
        }
        totals = [_total(scores, tasks) for tasks in (_PERCEPTION, _COGNITION)]
        return {"task_scores": scores, "totals": totals, "hallucination_subset_total": _total(scores, _SUBSET)}

    def _asked(self) -> list[_Asked]:
        folder = self.required("questions", "the folder of the questions, such as existence.txt")
        lines = [line for file in _files(folder) for line in _lines(file, len(_COLUMNS) - 1)]
        return [_asked_in(where, _described(where, columns)) for where, columns in lines]

    def _paired(self, answers: Sequence[Answer]) -> list[tuple[_Asked, Answer]]:
        """Each question with its answer. The answer's own row has the question; for our answers their folder has it."""
        if all({"category", "answer"} <= answer.values.keys() for answer in answers):
            return [(_asked_in(answer.where, answer.values), answer) for answer in answers]
        asked = self._asked()
        ordered = answers_in_order(answers, [each.id for each in asked], f"the folder '{self.questions}'")
        return list(zip(asked, ordered, strict=True))


class _Asked(NamedTuple):
    """A question. ``picture``: its name; empty if a harness does not say it. ``truth``: yes or no."""

    where: str
    task: str
    picture: str
    text: str
    truth: str

    @property
    def id(self) -> str:
        """The task and the number of the line."""
        return f"{self.task}/{self.where.rpartition(':')[2]}"


def _files(folder: Path) -> list[Path]:
    return [file for task in _TASKS if (file := folder / f"{task}.txt").is_file()]


def _lines(file: Path, num_columns: int) -> Iterator[tuple[str, list[str]]]:
    """The place and the columns of each line. Raises `DataError`."""
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError([Problem(file.name, "", f"is not UTF-8: {error}; save it as UTF-8")]) from error
    for number, line in enumerate(lines, 1):
        where, columns = f"{file.name}:{number}", line.split("\t")
        if len(columns) != num_columns:
            wanted = ", ".join(_COLUMNS[:num_columns])
            found = f"has {len(columns)} columns; it needs {wanted}, with a tab between them"
            raise DataError([Problem(where, "", found)])
        yield where, columns


def _described(where: str, columns: Sequence[str]) -> dict[str, str]:
    """A line of a file with the keys that evaluation harnesses use."""
    task = where.rpartition(".txt:")[0]
    return {"category": task, "question_id": columns[0], "question": columns[1], "answer": columns[2]}


def _asked_in(where: str, values: Mapping[str, Any]) -> _Asked:
    truth, task = str(values["answer"]).lower(), values["category"]
    if task not in _TASKS:
        raise DataError([Problem(where, "", f"MME has no task {task!r}; it has {', '.join(_TASKS)}")])
    if truth not in ("yes", "no"):
        raise DataError([Problem(where, "", f"the right answer must be yes or no, found {values['answer']!r}")])
    picture = str(values.get("question_id", values.get("image_path", "")))  # lmms-eval's and VLMEvalKit's names
    return _Asked(where, task, picture, str(values.get("question", "")), truth)


def _said(response: str) -> str:
    """``yes``, ``no`` or ``other``: yes or no within the first four characters, so that "nothing" is no."""
    start = response.lower()[:_READ]
    return next((word for word in ("yes", "no") if word in start), "other")


def _rows(pairs: Sequence[tuple[_Asked, Answer]]) -> list[dict[str, Any]]:
    """What is found in each answer. Raises `DataError` unless each picture has two lines, one after the other."""
    found: list[dict[str, Any]] = [
        {"task": asked.task, "said": _said(answer.response), "truth": asked.truth} for asked, answer in pairs
    ]
    for task in _TASKS:
        places = [place for place, (asked, _) in enumerate(pairs) if asked.task == task]
        if len(places) % 2:
            raise DataError([Problem(f"{task}.txt", "", f"has {len(places)} lines; each picture has two")])
        for first, second in zip(places[::2], places[1::2], strict=True):
            _require_one_picture(pairs[first][0], pairs[second][0])
            both = all(found[place]["said"] == found[place]["truth"] for place in (first, second))
            found[first] |= {"both_right": both}
            found[second] |= {"both_right": both}
    return [{"id": asked.id, "picture": asked.picture} | row for (asked, _), row in zip(pairs, found, strict=True)]


def _require_one_picture(first: _Asked, second: _Asked) -> None:
    if first.picture != second.picture:
        problem = f"is about {second.picture}, but the line before it about {first.picture}; each picture has two lines"
        raise DataError([Problem(second.where, "", problem)])


def _counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By task: its lines, the right ones, those of pictures with two right ones, and those without yes or no."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        right = row["said"] == row["truth"]
        added = {"rows": 1, "right": right, "both_right": row["both_right"], "other": row["said"] == "other"}
        found.setdefault(row["task"], Counter()).update(added)
    return {task: dict(found[task]) for task in _TASKS if task in found}


def _total(scores: Mapping[str, float], tasks: Iterable[str]) -> float | None:
    """The sum of the tasks' scores; None if one is missing."""
    return sum(scores[task] for task in tasks) if scores.keys() >= set(tasks) else None
