"""Answer files of four kinds: ours, those of a benchmark's own scripts, lmms-eval's samples, VLMEvalKit's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdpo_core.benchmarking.lmms_eval import in_order, is_sample, sample_answer
from mdpo_core.benchmarking.rows import StoredRow, read_rows
from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.benchmark.answers import Answer, AnswerNames
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.words.amounts import counted

OURS = AnswerNames(response="response", id="id", prompt="prompt")
_VLMEVALKIT = AnswerNames(response="prediction", id="index", prompt="question")


def read_answers(benchmark: Benchmark, path: Path) -> list[Answer]:
    """The answers in a file, or in a folder if the benchmark's own scripts use one.

    Raises `DataError` if the file cannot be read, or is of no kind that is known for the benchmark.
    """
    with code_of(benchmark, "read_answers"):
        own = benchmark.read_answers(path)
    if own is not None:
        return list(own)
    rows = in_order(read_rows(path))
    return [sample_answer(row) if is_sample(row.values) else _answer(row, _kind_of(benchmark, row)) for row in rows]


def _kind_of(benchmark: Benchmark, row: StoredRow) -> AnswerNames:
    """The keys of an answer, by those that its row has."""
    official = benchmark.answer_names
    if row.values.keys() >= {_VLMEVALKIT.id, _VLMEVALKIT.prompt, _VLMEVALKIT.response}:
        return _VLMEVALKIT  # before the official names: its "answer" is the right answer
    for names in (official, *benchmark.other_answer_names, OURS, _VLMEVALKIT):
        needed = {names.response, *((names.id,) if names.id else ())}
        if row.values.keys() >= needed:
            return names
    wanted = ", ".join(name for name in (official.id, official.prompt, official.response) if name)
    raise DataError(
        [
            Problem(
                row.where,
                "",
                f"has the keys {', '.join(map(str, row.values))}, which are not those of an answer to "
                f"'{benchmark.component_name()}': {wanted} (its own scripts), id, prompt, response (mdpo), doc_id, "
                "filtered_resps (lmms-eval) or index, question, prediction (VLMEvalKit)",
            )
        ]
    )


def _answer(row: StoredRow, names: AnswerNames) -> Answer:
    response = row.values[names.response]
    if not isinstance(response, str):
        raise DataError([Problem(row.where, names.response, f"must be text, found {str(response)[:40]!r}")])
    id = None if names.id is None else _text(row.values[names.id])
    prompt = None if names.prompt is None else row.values.get(names.prompt)
    return Answer(row.where, id, prompt if isinstance(prompt, str) else None, response, row.values)


def _text(id: Any) -> str:
    """An id as text: 7, 7.0 and "7" are one, for tables store whole numbers in various ways."""
    return str(int(id)) if isinstance(id, float) and id.is_integer() else str(id)


def answers_in_order(answers: Sequence[Answer], ids: Sequence[str], file: str) -> list[Answer]:
    """The answers in the order of ``ids``, which is that of the questions in ``file``.

    Raises `DataError` if a question has no answer or two, or if an answer has no question.
    """
    found: dict[str | None, Answer] = {}
    problems = []
    known = set(ids)
    for answer in answers:
        if answer.id not in known:
            problems.append(Problem(answer.where, "", f"{file} has no question {answer.id!r}"))
        elif answer.id in found:
            first = found[answer.id].where
            problems.append(Problem(answer.where, "", f"the question {answer.id!r} was answered in {first}, too"))
        else:
            found[answer.id] = answer
    missing = [id for id in ids if id not in found]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        named = f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        problems.append(
            Problem(file, "", f"{len(missing):,} of {counted(len(ids), 'question')} {have} no answer: {named}")
        )
    if problems:
        raise DataError(shortened(problems))
    return [found[id] for id in ids]


def shortened(problems: Sequence[Problem], most: int = 10) -> list[Problem]:
    """The first problems, and the number of the others."""
    more = len(problems) - most
    return [*problems[:most], *([Problem("", "", f"and {more:,} more problems of this file")] if more > 0 else [])]
