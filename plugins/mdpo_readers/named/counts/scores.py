"""Count the pairs of rows with scored answers, for many rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import types

from mdpo_readers.formats.counting import (
    UNKNOWN,
    Mask,
    column_of,
    holds_in_all,
    is_filled,
    is_list,
    is_null,
    lengths,
    num_pairs,
    objects_in,
    row_of_each,
)
from mdpo_readers.formats.sound import are_prompts, are_texts, numbers_of

Counts = NDArray[numpy.int64]

_ASKED, _PICTURES = ("instruction", "prompt", "messages"), ("image", "images")  # distilabel's


def count_scored(rows: pyarrow.Table) -> Counts:
    """How many pairs of answers with different scores each row of BPO has; `UNKNOWN` for an unusual one."""
    completions = column_of(rows, "completions")
    answers = objects_in(completions)
    if answers is None or not {"response", "score"} <= set(answers.fields):
        return numpy.full(rows.num_rows, UNKNOWN)
    scores = numbers_of(answers.fields["score"])
    is_sound = are_texts(answers.fields["response"]) & ~numpy.isnan(scores)
    are_sound = holds_in_all(answers.rows, is_sound, rows.num_rows) & ~is_null(completions) & _is_asked(rows)
    scores = numpy.where(is_sound, scores, 0)
    return numpy.where(are_sound, num_pairs(answers.rows, scores, rows.num_rows), UNKNOWN)


def _is_asked(rows: pyarrow.Table) -> Mask:
    """Whether one column, and no other, has a question, which is sound."""
    asked = [column_of(rows, name) for name in ("conversations", "prompt", "question")]
    is_sound: Mask = numpy.logical_or.reduce([is_filled(each) & are_prompts(each) for each in asked])
    is_sound &= _num_filled(asked) == 1
    return is_sound


def count_rated(rows: pyarrow.Table) -> Counts:
    """1 for each row of distilabel, and 0 for one whose answers are rated alike; `UNKNOWN` for an unusual one.

    A bad row counts as one, so that only the rows without a pair have to be sound.
    """
    counts = numpy.where(is_null(column_of(rows, "chosen")), UNKNOWN, 1)
    generations, ratings = column_of(rows, "generations"), column_of(rows, "ratings")
    if not is_list(generations.type) or not is_list(ratings.type) or types.is_null(generations.type.value_type):
        return counts
    is_whole = ~is_null(generations) & ~is_null(ratings) & (lengths(generations) == lengths(ratings))
    is_whole &= counts == UNKNOWN
    where = pyarrow.array(is_whole)
    generations, ratings = generations.filter(where), ratings.filter(where)
    answers, written, row_of_answer = generations.flatten(), ratings.flatten(), row_of_each(generations)
    is_rated, scores = ~is_null(written) & ~is_null(answers), numbers_of(written)
    is_sound = ~is_rated | (are_texts(answers) & ~numpy.isnan(scores))
    are_sound = holds_in_all(row_of_answer, is_sound, len(generations)) & _is_asked_once(rows)[is_whole]
    pairs = num_pairs(row_of_answer[is_rated], numpy.nan_to_num(scores[is_rated]), len(generations))
    counts[is_whole] = numpy.where(pairs > 0, 1, numpy.where(are_sound, 0, UNKNOWN))
    return counts


def _is_asked_once(rows: pyarrow.Table) -> Mask:
    """Whether the columns of a question, and those of pictures, surely do not contradict each other."""
    found = [[column_of(rows, name) for name in names] for names in (_ASKED, _PICTURES)]
    is_sound: Mask = numpy.logical_and.reduce([_num_filled(columns) <= 1 for columns in found])
    return is_sound


def _num_filled(columns: Sequence[pyarrow.Array]) -> Counts:
    """In how many of these columns each row has a value."""
    found: Counts = numpy.sum([is_filled(each) for each in columns], axis=0, dtype=numpy.int64)
    return found
