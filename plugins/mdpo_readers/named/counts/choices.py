"""Count the pairs of rows with two answers and a choice among them, for many rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, types

from mdpo_readers.formats.counting import (
    UNKNOWN,
    Mask,
    column_of,
    is_list,
    is_null,
    is_text,
    is_true,
    lengths,
    row_of_each,
)
from mdpo_readers.formats.sound import Conversations, conversations_in

Counts = NDArray[numpy.int64]


def count_choices(rows: pyarrow.Table) -> Counts:
    """1 for each row of align-anything, and 0 for one whose answers are equally good; a bad row counts as one."""
    said = column_of(rows, "overall_response")
    if is_text(said.type):
        return numpy.where(is_true(compute.is_in(said, pyarrow.array(["0", "0.0"], said.type))), 0, 1)
    if types.is_integer(said.type) or types.is_floating(said.type):
        return numpy.where(is_true(compute.equal(said, 0)), 0, 1)
    return numpy.full(rows.num_rows, 1 if types.is_null(said.type) else UNKNOWN)


def count_votes(rows: pyarrow.Table) -> Counts:
    """1 for each of Argilla's records, and 0 for one with as many votes for each answer; a bad one counts as one."""
    names, states = (_texts_in(column_of(rows, f"preference.responses{part}")) for part in ("", ".status"))
    if not all(is_list(each.type) and is_text(each.type.value_type) for each in (names, states)):
        return numpy.full(rows.num_rows, UNKNOWN)
    is_whole = is_null(states) | (lengths(states) == lengths(names))
    row_of_name, said = row_of_each(names), names.flatten()
    counts = _submitted(states, lengths(names), is_whole)
    first, second = (is_true(compute.equal(said, f"response_{number}")) for number in (1, 2))
    is_whole[row_of_name[~(first | second)]] = False
    balance = numpy.bincount(row_of_name, (first * 1.0 - second) * counts, len(rows))
    return numpy.where(is_whole & (balance == 0), 0, 1)


def _texts_in(stored: pyarrow.Array) -> pyarrow.Array:
    """Lists of texts, also if all are null or empty; a column of another type stays."""
    is_without = types.is_null(stored.type) or (is_list(stored.type) and types.is_null(stored.type.value_type))
    return stored.cast(pyarrow.list_(pyarrow.string())) if is_without else stored


def _submitted(states: pyarrow.ListArray, num_names: NDArray[numpy.int64], is_whole: Mask) -> Mask:
    """Whether the response of each name was submitted; true where the states of a row are unknown, or too many."""
    found = numpy.full(int(num_names.sum()), True)
    state = states.flatten()
    was_submitted = is_null(state) | is_true(compute.equal(state, "submitted"))
    has_states = is_whole & ~is_null(states)
    found[numpy.repeat(has_states, num_names)] = was_submitted[numpy.repeat(has_states, lengths(states))]
    return found


def count_battles(rows: pyarrow.Table, ties: Sequence[str]) -> Counts:
    """1 for each row of VisionArena, 0 for a tie, and for conversations that differ before their last answers."""
    winner = column_of(rows, "winner")
    if not is_text(winner.type):
        return numpy.full(rows.num_rows, UNKNOWN)
    one, other = (_in_one_list(column_of(rows, f"conversation_{model}")) for model in "ab")
    is_tie = is_true(compute.is_in(winner, pyarrow.array(ties, winner.type)))
    is_won = is_true(compute.is_in(winner, pyarrow.array(["model_a", "model_b"], winner.type)))
    counts = numpy.where(is_tie, 0, numpy.where(is_won, UNKNOWN, 1))
    if one is not None and other is not None:
        is_known = is_won & one.are_whole & other.are_whole
        counts[is_known] = _are_asked_alike(one, other, is_known)[is_known]
    return counts


def _in_one_list(stored: pyarrow.Array) -> Conversations | None:
    """The conversations of a column, each in one list; each message may stand in a list of its own."""
    if is_list(stored.type) and is_list(stored.type.value_type) and not stored.flatten().null_count:
        ends = numpy.append(0, numpy.cumsum(lengths(stored.flatten())))[numpy.append(0, numpy.cumsum(lengths(stored)))]
        nulls = pyarrow.array(is_null(stored))
        stored = pyarrow.ListArray.from_arrays(
            pyarrow.array(ends, pyarrow.int32()), stored.flatten().flatten(), mask=nulls
        )
    return conversations_in(stored)


def _are_asked_alike(one: Conversations, other: Conversations, are_known: Mask) -> Mask:
    """Whether the turns before the last one are the same in both conversations of a row."""
    counts = [numpy.bincount(each.rows, minlength=len(are_known)) for each in (one, other)]
    are_alike: Mask = are_known & (counts[0] == counts[1])
    first, second = (numpy.flatnonzero(are_alike[each.rows]) for each in (one, other))
    is_same = one.roles[first] == other.roles[second]
    is_same &= is_true(compute.equal(one.texts.take(pyarrow.array(first)), other.texts.take(pyarrow.array(second))))
    is_last = numpy.append(one.rows[first][1:] != one.rows[first][:-1], True)[: len(first)]
    are_alike[one.rows[first[~is_same & ~is_last]]] = False
    return are_alike
