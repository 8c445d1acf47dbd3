"""The 96 rows of MMHal-Bench, and a model's answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mdpo_core import Answer, DataError, Problem, StoredRow, answers_in_order

NUM_ROWS = 96
# Row i has the type i % 8; the means per type depend on it.
TYPES = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")
_NEEDED = ("question_type", "image_id", "image_content", "question", "gt_answer")
_TEXTS = ("image_id", "question", "gt_answer")


def picture_of(row: StoredRow) -> str:
    """The name of a row's picture, as the archive on Hugging Face has it: the last part of its address."""
    return PurePosixPath(urlsplit(str(row.values.get("image_src", row.values["image_id"]))).path).name


def checked(rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
    """The rows. Raises `DataError` if they are not those of MMHal-Bench in their order."""
    for number, row in enumerate(rows):
        _require_fields(row)
        expected = TYPES[number % len(TYPES)]
        if row.values["question_type"] != expected:
            message = f"is {row.values['question_type']!r}, but this place has {expected!r}: keep the order of the rows"
            raise DataError([Problem(row.where, "question_type", message)])
    if len(rows) != NUM_ROWS:
        raise DataError(f"there are {len(rows):,} rows, but MMHal-Bench has {NUM_ROWS}")
    return rows


def _require_fields(row: StoredRow) -> None:
    missing = [name for name in _NEEDED if name not in row.values]
    if missing:
        message = (
            f"lacks {', '.join(missing)}, which the rows of MMHal-Bench have; answers in another layout need --data "
            "DIR with the file of the 96 rows"
        )
        raise DataError([Problem(row.where, "", message)])
    for name in _TEXTS:
        if not isinstance(row.values[name], str):
            raise DataError([Problem(row.where, name, f"must be text, found {str(row.values[name])[:40]!r}")])
    content = row.values["image_content"]
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise DataError([Problem(row.where, "image_content", f"must be a list of texts, found {str(content)[:40]!r}")])


def answered(answers: Sequence[Answer], rows: Sequence[StoredRow], file: str) -> list[dict[str, Any]]:
    """The rows with the model's answers. Raises `DataError` if a row has none, or an answer no row.

    ``file``: the name of that of the rows, for errors.
    """
    ordered = answers_in_order(answers, [row.values["image_id"] for row in rows], file)
    for answer, row in zip(ordered, rows, strict=True):
        _require_same_question(answer, row)
    if not any(answer.response.strip() for answer in ordered):
        raise DataError("all 96 answers are empty: this is the template, not a model's answers")
    return [{**row.values, "model_answer": answer.response} for answer, row in zip(ordered, rows, strict=True)]


def _require_same_question(answer: Answer, row: StoredRow) -> None:
    if answer.prompt is not None and row.values["question"].strip() not in answer.prompt:
        message = (
            f"answers {answer.prompt[:60]!r}, but the benchmark asks {row.values['question'][:60]!r} in this place"
        )
        raise DataError([Problem(answer.where, "", f"{message}; are they the answers to another benchmark?")])
