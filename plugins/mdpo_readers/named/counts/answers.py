"""Count HA-DPO's pairs, the answers of a row in order, for many rows at once."""

from __future__ import annotations

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, types

from mdpo_readers.formats.counting import (
    UNKNOWN,
    Mask,
    column_of,
    fields_of,
    holds_in_all,
    is_filled,
    is_list,
    is_null,
    is_text,
    is_true,
    lengths,
    row_of_each,
)
from mdpo_readers.formats.sound import are_questions, are_texts

_LONGEST_NAME = 100  # letters


def count_answers(rows: pyarrow.Table) -> NDArray[numpy.int64]:
    """How many answers each row has, 1 for one that is not a list; `UNKNOWN` for an unusual row."""
    chosen, others = column_of(rows, "chosen"), [column_of(rows, name) for name in ("rejected", "reject")]
    if is_text(chosen.type):
        return numpy.where(are_texts(chosen) | is_null(chosen), 1, UNKNOWN)
    if types.is_struct(chosen.type) and not any(is_list(field.type) for field in chosen.type):
        return numpy.ones(rows.num_rows, numpy.int64)
    counts = numpy.full(rows.num_rows, UNKNOWN)
    if not is_list(chosen.type):
        return counts
    counts[lengths(chosen) == 1] = 1
    counts[is_null(chosen)] = 1
    for rejected, other in (others, others[::-1]):
        if is_list(rejected.type):
            is_known = is_filled(rejected) & ~is_filled(other) & (counts == UNKNOWN)
            counts[is_known & (lengths(chosen) != lengths(rejected))] = 1
            is_known &= (counts == UNKNOWN) & _is_named(column_of(rows, "image_id"))
            where = pyarrow.array(is_known)
            columns = (each.filter(where) for each in (chosen, rejected, column_of(rows, "question")))
            is_known[is_known] = _are_sound(*columns)
            counts[is_known] = lengths(chosen)[is_known]
    return counts


def _is_named(names: pyarrow.Array) -> Mask:
    """Whether the picture of a row surely has a name."""
    if types.is_integer(names.type):
        return ~is_null(names)
    is_sound = are_questions(names)
    return is_sound & is_true(compute.less(compute.utf8_length(names), _LONGEST_NAME)) if is_sound.any() else is_sound


def _are_sound(chosen: pyarrow.Array, rejected: pyarrow.Array, question: pyarrow.Array) -> Mask:
    """Whether all answers and questions of each row are texts, and the row asks one thing."""
    answers, questions = zip(*(_parts(each) for each in (chosen, rejected)), strict=True)
    rows = row_of_each(chosen)
    asked = (*questions, question.take(pyarrow.array(rows)))
    is_sound = numpy.logical_and.reduce([are_texts(each) for each in answers])
    for each in asked:
        is_sound &= is_null(each) | are_questions(each)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        is_sound &= _are_alike(asked[one], asked[other])
    return holds_in_all(rows, is_sound, len(chosen))


def _parts(lists: pyarrow.Array) -> tuple[pyarrow.Array, pyarrow.Array]:
    """The answers in lists, and their questions, null where there is none."""
    answers = lists.flatten()
    fields = fields_of(answers) if types.is_struct(answers.type) else {}
    none = pyarrow.nulls(len(answers))
    return (fields.get("answer", none), fields.get("question", none)) if fields else (answers, none)


def _are_alike(some: pyarrow.Array, others: pyarrow.Array) -> Mask:
    """Whether two texts are the same, or one of them is null."""
    found = is_null(some) | is_null(others)
    return found | is_true(compute.equal(some, others)) if is_text(some.type) and is_text(others.type) else found
