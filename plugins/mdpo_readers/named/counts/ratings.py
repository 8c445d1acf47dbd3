"""Count VLFeedback's pairs for many rows at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import types

from mdpo_readers.formats.counting import (
    UNKNOWN,
    Mask,
    column_of,
    fields_of,
    is_filled,
    is_null,
    is_text,
    num_pairs,
    objects_in,
)
from mdpo_readers.formats.sound import Numbers, are_questions, are_texts, texts_as_numbers
from mdpo_readers.named.rated import HIGHEST, LOWEST

# Sums of such ratings are exact in any order, so that means are equal where those of `VLFeedback.pairs` are.
_PART = 1 / 64


def count_all_pairs(rows: pyarrow.Table) -> NDArray[numpy.int64]:
    """How many pairs of answers with different means each row has; `UNKNOWN` for an unusual one."""
    completions = column_of(rows, "completions")
    answers = objects_in(completions)
    if answers is None or not {"response", "annotations"} <= set(answers.fields):
        return numpy.full(rows.num_rows, UNKNOWN)
    response, annotations = answers.fields["response"], answers.fields["annotations"]
    means = _means(annotations) if types.is_struct(annotations.type) else None
    if means is None:
        return numpy.full(rows.num_rows, UNKNOWN)
    is_odd = ~are_questions(column_of(rows, "prompt")) | is_null(completions)
    is_odd |= is_filled(column_of(rows, "img_path")) & is_filled(column_of(rows, "image"))
    is_odd[answers.rows[~are_texts(response) | is_null(annotations) | means.is_rounded]] = True
    is_rated = ~numpy.isnan(means.values)
    return numpy.where(is_odd, UNKNOWN, num_pairs(answers.rows[is_rated], means.values[is_rated], rows.num_rows))


def count_best_over_worst(rows: pyarrow.Table) -> NDArray[numpy.int64]:
    """1 for each row with answers of different means, else 0; `UNKNOWN` for an unusual one."""
    return numpy.minimum(count_all_pairs(rows), 1)


class _Means(NamedTuple):
    """The mean rating of each answer; not a number for an answer that is in no pair."""

    values: Numbers
    is_rounded: Mask


def _means(annotations: pyarrow.StructArray) -> _Means | None:
    """None if an aspect is not of a type that is known here."""
    total, count = numpy.zeros(len(annotations)), numpy.zeros(len(annotations))
    is_rounded = numpy.zeros(len(annotations), bool)
    for aspect in fields_of(annotations).values():
        if types.is_null(aspect.type):
            continue
        fields = fields_of(aspect) if types.is_struct(aspect.type) else {}
        ratings = _numbers(fields.get("Rating"), len(aspect))
        if ratings is None or not types.is_struct(aspect.type):
            return None
        is_there = ~numpy.logical_and.reduce([numpy.full(len(aspect), True), *map(is_null, fields.values())])
        is_odd = is_there & ((ratings < LOWEST) | (ratings > HIGHEST) | (ratings % _PART > 0))
        total, count = total + numpy.where(is_there & ~is_odd, ratings, 0), count + is_there
        is_rounded |= is_odd
    return _Means(numpy.divide(total, count, where=count > 0, out=numpy.full(len(total), numpy.nan)), is_rounded)


def _numbers(ratings: pyarrow.Array | None, count: int) -> Numbers | None:
    """The ratings as `VLFeedback.pairs` reads them; not a number where there is none. None for an odd type."""
    if ratings is None or types.is_null(ratings.type):
        return numpy.full(count, numpy.nan)
    if is_text(ratings.type):
        return texts_as_numbers(ratings)
    if not (types.is_integer(ratings.type) or types.is_float64(ratings.type)):
        return None
    numbers = ratings.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numpy.where(numpy.isfinite(numbers), numbers, numpy.nan)
