"""Count VLFeedback's pairs for many rows at once: one by one, a million rows would take most of a minute."""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import types

from mdpo_readers.cell_types import number_in
from mdpo_readers.formats.counting import UNKNOWN, Mask, fields_of, is_null, is_text, num_pairs, objects_in
from mdpo_readers.named.rated import HIGHEST, LOWEST

Numbers = NDArray[numpy.float64]

# Sums of such ratings are exact in any order, so that means are equal where those of `VLFeedback.pairs` are.
_PART = 1 / 64


def count_all_pairs(rows: pyarrow.Table) -> NDArray[numpy.int64]:
    """How many pairs of answers with different means each row has; `UNKNOWN` for an unusual one."""
    unknown = numpy.full(rows.num_rows, UNKNOWN)
    if not {"prompt", "completions"} <= set(rows.column_names) or not is_text(rows["prompt"].type):
        return unknown
    answers = objects_in(rows["completions"])
    if answers is None:
        return unknown
    response, annotations = answers.fields.get("response"), answers.fields.get("annotations")
    if response is None or annotations is None or not is_text(response.type) or not types.is_struct(annotations.type):
        return unknown
    means = _means(annotations)
    if means is None:
        return unknown
    is_odd = is_null(rows["prompt"]) | is_null(rows["completions"]) | _has_two_pictures(rows)
    is_odd[answers.rows[is_null(response) | is_null(annotations) | means.is_rounded]] = True
    is_rated = ~numpy.isnan(means.values)
    return numpy.where(is_odd, UNKNOWN, num_pairs(answers.rows[is_rated], means.values[is_rated], rows.num_rows))


def count_best_over_worst(rows: pyarrow.Table) -> NDArray[numpy.int64]:
    """1 for each row with answers of different means, else 0; `UNKNOWN` for an unusual one."""
    return numpy.minimum(count_all_pairs(rows), 1)


def _has_two_pictures(rows: pyarrow.Table) -> Mask:
    if not {"img_path", "image"} <= set(rows.column_names):
        return numpy.zeros(rows.num_rows, bool)
    return ~(is_null(rows["img_path"]) | is_null(rows["image"]))


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
        coded = ratings.dictionary_encode()
        found = [number_in(text) for text in coded.dictionary.to_pylist()]
        values = numpy.array([*found, None], float)  # the last one is for null
        numbers: Numbers = values[coded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)]
        return numbers
    if not (types.is_integer(ratings.type) or types.is_float64(ratings.type)):
        return None
    numbers = ratings.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numpy.where(numpy.isfinite(numbers), numbers, numpy.nan)
