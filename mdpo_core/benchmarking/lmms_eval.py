"""The samples that lmms-eval logs: a line of JSON for each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdpo_core.benchmarking.rows import StoredRow
from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.benchmark.answers import Answer

_SAID, _ROW, _NUMBER = "filtered_resps", "doc", "doc_id"
# How the rows of data sets call a question's id and text.
_IDS = ("id", "question_id", "index")
_PROMPTS = ("question", "prompt", "text", "query")
_NO_METRICS = ("input_media", "token_counts")


def is_sample(values: Mapping[str, Any]) -> bool:
    """Whether a row is a sample of lmms-eval, by its keys."""
    return _SAID in values and not values.keys().isdisjoint({_ROW, _NUMBER})


def in_order(rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
    """The samples in the order of the data set, which several processes mix. Raises `DataError` if one is there twice.

    Rows without their number in it stay as they are.
    """
    numbers = [row.values.get(_NUMBER) for row in rows]
    if not all(type(number) is int and is_sample(row.values) for number, row in zip(numbers, rows, strict=True)):
        return rows
    first: dict[int, str] = {}
    for row in rows:
        number = row.values[_NUMBER]
        if number in first:
            raise DataError([Problem(row.where, _NUMBER, f"the sample {number} stands in {first[number]}, too")])
        first[number] = row.where
    return sorted(rows, key=lambda row: int(row.values[_NUMBER]))


def sample_answer(row: StoredRow) -> Answer:
    """The answer in a sample. Raises `DataError` if it has none, or several."""
    found = row.values[_SAID]
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, str):
        raise DataError([Problem(row.where, _SAID, f"must hold one answer, found {str(found)[:40]!r}")])
    values = _asked_in(row.values)
    id, prompt = _first(values, _IDS), _first(values, _PROMPTS)
    return Answer(row.where, None if id is None else str(id), None if prompt is None else str(prompt), found, values)


def _asked_in(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a sample says about its question: ``doc`` is the row of the data set.

    Since 0.4 lmms-eval leaves it out: its metrics then name the question, ``input`` is the prompt, and ``target`` the
    right answer.
    """
    if isinstance(sample.get(_ROW), dict):
        row: dict[str, Any] = sample[_ROW]
        return row
    metrics = {name: value for name, value in sample.items() if isinstance(value, dict) and name not in _NO_METRICS}
    named = {key: value for found in metrics.values() for key, value in found.items()}
    asked = {_NUMBER: sample.get(_NUMBER), "question": sample.get("input"), "answer": sample.get("target")}
    return {key: value for key, value in asked.items() if value is not None} | named


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)
