"""Rows of JSON as an Arrow table, many at once, where Arrow surely reads them as `values_of` does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import json, types

from mdpo_readers.tables.files.json_rows import HALF, BadRow, values_of

Places = NDArray[numpy.int64]

_OPENS, _CLOSES = b"{}"
_MOST_FAILURES = 8  # in a row; then the rows differ too much
_LARGEST_EXACT = 2**53  # a float is exact for every whole number below this one
# Only a number with so many zeros, or with such an exponent, is below the smallest float.
_MANY_ZEROS = b"0" * 200
_TINY = re.compile(rb"e-0*[1-9]\d\d"), re.compile(rb"E-0*[1-9]\d\d")  # quick, since each begins with letters
_MOST_BRACKETS = 200  # in a row from which types are learned; its depth is smaller


class ArrowJson:
    """Reads rows whose types are the same. They are learned from rows that `values_of` reads.

    No key is unknown, so Arrow finds each that occurs twice, and nothing is nested more deeply than what was learned.
    Numbers that Arrow may round in another way are left to `values_of`.
    """

    def __init__(self) -> None:
        self._learned = pyarrow.schema([])
        self._failures = 0

    def table(self, texts: Sequence[bytes]) -> pyarrow.Table | None:
        """The rows of some texts, with all columns; None if Arrow may read one of them in another way."""
        ends = numpy.cumsum([len(text) + 1 for text in texts]) - 1
        return self.lines(b"\n".join(texts), numpy.append(0, ends[:-1] + 1), ends)

    def lines(self, content: bytes, starts: Places, ends: Places) -> pyarrow.Table | None:
        """The same for rows that are lines of a text. ``starts``, ``ends``: their first and (exclusive) last bytes.

        Nothing but space is between them.
        """
        is_usual = self._failures < _MOST_FAILURES and _are_objects(content, starts, ends) and _is_whole(content)
        if not is_usual:
            return None
        found = self._parsed(content)
        if found is None and self._learn([content[start:end] for start, end in zip(starts, ends, strict=True)]):
            found = self._parsed(content)
        self._failures = self._failures + 1 if found is None else 0
        return found if found is not None and found.num_rows == len(starts) and _are_exact(found, content) else None

    def _parsed(self, content: bytes) -> pyarrow.Table | None:
        reading = json.ReadOptions(use_threads=False, block_size=len(content) + 1)
        schema = pyarrow.schema([field.with_type(_without_null(field.type)) for field in self._learned])
        parsing = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
        try:
            return json.read_json(pyarrow.BufferReader(content), reading, parsing)
        except pyarrow.ArrowException:
            return None

    def _learn(self, texts: Sequence[bytes]) -> bool:
        """Add the types of these rows; False if Arrow has none for them."""
        if any(text.count(b"{") + text.count(b"[") > _MOST_BRACKETS for text in texts):
            return False
        try:
            found = pyarrow.schema(pyarrow.array([values_of(text) for text in texts]).type)
            schema = pyarrow.unify_schemas([self._learned, found], promote_options="permissive")
        except (BadRow, OverflowError, pyarrow.ArrowException):
            return False
        if not all(map(_is_exact, schema.types)):
            return False
        self._learned = schema
        return True


def _are_objects(content: bytes, starts: Places, ends: Places) -> bool:
    """Whether no object can go on in the next row: inside of one, no brace that opens follows one that closes."""
    characters = numpy.frombuffer(content, numpy.uint8)
    are_whole = len(starts) > 0 and bool((ends > starts).all())
    return are_whole and bool((characters[starts] == _OPENS).all() and (characters[ends - 1] == _CLOSES).all())


def _is_whole(content: bytes) -> bool:
    """Whether all characters are whole ones of UTF-8, escaped ones, too."""
    if b"\0" in content or HALF.search(content):
        return False
    try:
        return content.isascii() or bool(content.decode())
    except UnicodeDecodeError:
        return False


def _is_exact(kind: pyarrow.DataType) -> bool:
    if types.is_struct(kind):
        return all(_is_exact(field.type) for field in kind)
    if types.is_list(kind):
        return _is_exact(kind.value_type)
    is_of = (types.is_string, types.is_int64, types.is_float64, types.is_boolean, types.is_null)
    return any(is_it(kind) for is_it in is_of)


def _are_exact(rows: pyarrow.Table, content: bytes) -> bool:
    """Whether all fractions of rows are what `values_of` reads in their text: it refuses a number that becomes 0.

    In a column with fractions, a large whole number is rounded.
    """
    has_zero = False
    for column in (each for each in rows.columns if "double" in str(each.type)):  # quicker than to look into each
        for found in _fractions(column.combine_chunks()):
            sizes = numpy.abs(found.drop_null().to_numpy())
            if not (sizes < _LARGEST_EXACT).all():  # or not a number
                return False
            has_zero |= bool((sizes == 0).any())
    return not (has_zero and _may_be_tiny(content))


def _may_be_tiny(content: bytes) -> bool:
    """Whether a number may be so small that a float is 0."""
    exponents = (found.start() for tiny in _TINY for found in tiny.finditer(content))
    return _MANY_ZEROS in content or any(content[start - 1 : start].isdigit() for start in exponents)


def _fractions(stored: pyarrow.Array) -> Iterator[pyarrow.Array]:
    """The fractions anywhere in a column."""
    if types.is_float64(stored.type):
        yield stored
    elif types.is_struct(stored.type):
        for field in stored.flatten():
            yield from _fractions(field)
    elif types.is_list(stored.type):
        yield from _fractions(stored.flatten())


def _without_null(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type with texts where only null was found: of lists of nulls, Arrow makes damaged arrays."""
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_without_null(field.type)) for field in kind])
    if types.is_list(kind):
        return pyarrow.list_(_without_null(kind.value_type))
    return pyarrow.string() if types.is_null(kind) else kind
