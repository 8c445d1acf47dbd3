"""Count the pairs of many rows at once: parts of Arrow's tables as arrays with an element for each object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, types

from mdpo_readers.tables.files.arrow_json import ArrowJson

UNKNOWN = -1  # the count of a row that has to be counted by itself
Mask = NDArray[numpy.bool_]
_IS_WRITTEN = r"^\s*[\[{]"


class WrittenColumns:
    """Columns whose lists or objects may be written as JSON, read many at once, as `meant` reads them one by one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._reading = {name: ArrowJson() for name in names}

    def read(self, rows: pyarrow.Table) -> pyarrow.Table:
        """The rows with what is written; a column of texts stays if one may be something else."""
        for name, reading in self._reading.items():
            if name in rows.column_names and is_text(rows[name].type):
                found = _as_written(rows[name], reading)
                if found is not None:
                    rows = rows.set_column(rows.column_names.index(name), name, found)
        return rows


def _as_written(column: pyarrow.ChunkedArray, reading: ArrowJson) -> pyarrow.ChunkedArray | None:
    if not compute.all(compute.match_substring_regex(column, _IS_WRITTEN)).as_py():
        return None
    texts = [b"null" if text is None else text.encode() for text in column.to_pylist()]
    found = reading.table([b'{"": %b}' % text for text in texts])
    # A text may close its object, and go on with another key, which is learned then.
    return found[""] if found is not None and found.column_names == [""] else None


def column_of(rows: pyarrow.Table, name: str) -> pyarrow.Array:
    """A column in one piece; nulls if the column is missing."""
    return rows[name].combine_chunks() if name in rows.column_names else pyarrow.nulls(rows.num_rows)


class Objects(NamedTuple):
    """The objects in a column of lists, one after the other. ``rows``: the row of each, from 0."""

    rows: NDArray[numpy.int64]
    fields: dict[str, pyarrow.Array]


def objects_in(stored: pyarrow.Array) -> Objects | None:
    """The objects in a column of lists, or of objects of lists; None if it has another type.

    A null list has no objects.
    """
    if types.is_struct(stored.type):
        return _of_lists(stored)
    if not is_list(stored.type) or not types.is_struct(stored.type.value_type):
        return None
    return Objects(row_of_each(stored), fields_of(stored.flatten()))


def _of_lists(stored: pyarrow.StructArray) -> Objects | None:
    """The objects of an object of lists; None if the lists of a row differ in length, or one is null."""
    lists = fields_of(stored)
    if not lists or any(not is_list(each.type) or each.null_count for each in lists.values()):
        return None
    rows = [row_of_each(each) for each in lists.values()]
    if not all(numpy.array_equal(rows[0], each) for each in rows):
        return None
    return Objects(rows[0], {name: each.flatten() for name, each in lists.items()})


def fields_of(stored: pyarrow.StructArray) -> dict[str, pyarrow.Array]:
    """The fields of objects by name, null where the object is null."""
    return dict(zip((field.name for field in stored.type), stored.flatten(), strict=True))


def is_list(kind: pyarrow.DataType) -> bool:
    """Whether a type is that of lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind))


def is_text(kind: pyarrow.DataType) -> bool:
    """Whether a type is that of texts."""
    return bool(types.is_string(kind) or types.is_large_string(kind))


def is_null(stored: pyarrow.Array | pyarrow.ChunkedArray) -> Mask:
    """Whether each value is null."""
    found: Mask = stored.is_null().to_numpy(zero_copy_only=False)
    return found


def is_filled(stored: pyarrow.Array) -> Mask:
    """Whether each value is there; an empty text and an empty list are not."""
    if is_text(stored.type):
        return is_true(compute.greater(compute.binary_length(stored), 0))
    return lengths(stored) > 0 if is_list(stored.type) else ~is_null(stored)


def is_true(found: pyarrow.BooleanArray) -> Mask:
    """Whether each value is true; null is not."""
    mask: Mask = compute.fill_null(found, False).to_numpy(zero_copy_only=False)
    return mask


def lengths(lists: pyarrow.Array) -> NDArray[numpy.int64]:
    """How many values each list has; 0 for null."""
    found = compute.fill_null(compute.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return numpy.asarray(found, numpy.int64)


def row_of_each(lists: pyarrow.Array) -> NDArray[numpy.int64]:
    """The row of each value in a column of lists, from 0."""
    return numpy.repeat(numpy.arange(len(lists)), lengths(lists))


def holds_in_all(rows: NDArray[numpy.int64], holds: Mask, num_rows: int) -> Mask:
    """Whether something holds for all values of each row. ``rows``: the row of each value, from 0."""
    found = numpy.full(num_rows, True)
    found[rows[~holds]] = False
    return found


def num_pairs(rows: NDArray[numpy.int64], scores: NDArray[numpy.float64], num_rows: int) -> NDArray[numpy.int64]:
    """How many pairs of answers with different scores each row has. ``rows``: the row of each answer, from 0."""
    if not len(rows):
        return numpy.zeros(num_rows, numpy.int64)
    order = numpy.lexsort((scores, rows))
    rows, scores = rows[order], scores[order]
    begins = numpy.flatnonzero(numpy.append(True, (rows[1:] != rows[:-1]) | (scores[1:] != scores[:-1])))
    alike = numpy.diff(numpy.append(begins, len(rows)))
    num_answers = numpy.bincount(rows, minlength=num_rows)
    with_itself_or_alike = numpy.bincount(rows[begins], weights=alike * alike, minlength=num_rows).astype(numpy.int64)
    return (num_answers * num_answers - with_itself_or_alike) // 2
