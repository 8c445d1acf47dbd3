"""Rows of JSON as an Arrow table, many at once, where Arrow surely reads them as `values_of` does."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow
from pyarrow import json, types

from mdpo_readers.tables.files.json_rows import HALF, BadRow, values_of

_MOST_FAILURES = 8  # in a row; then the rows differ too much
_MOST_BRACKETS = 200  # in a row from which types are learned; its depth is smaller


class ArrowJson:
    """Reads rows whose types are the same. They are learned from rows that `values_of` reads.

    Only texts, whole numbers, true, false and null: Arrow rounds other numbers in another way. No key is unknown, so
    Arrow finds each that occurs twice, and nothing is nested more deeply than what was learned.
    """

    def __init__(self) -> None:
        self._learned = pyarrow.schema([])
        self._failures = 0

    def table(self, texts: Sequence[bytes]) -> pyarrow.Table | None:
        """The rows of some texts, with all columns; None if Arrow may read one of them in another way."""
        content = b"\n".join(texts)
        if self._failures >= _MOST_FAILURES or not _are_objects(texts) or not _is_whole(content):
            return None
        found = self._parsed(content)
        if found is None and self._learn(texts):
            found = self._parsed(content)
        self._failures = self._failures + 1 if found is None else 0
        return found if found is not None and found.num_rows == len(texts) else None

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


def _are_objects(texts: Sequence[bytes]) -> bool:
    """Whether no object can go on in the next text: inside of one, no brace that opens follows one that closes."""
    return all(text.startswith(b"{") and text.endswith(b"}") for text in texts)


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
    return bool(types.is_string(kind) or types.is_int64(kind) or types.is_boolean(kind) or types.is_null(kind))


def _without_null(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type with texts where only null was found: of lists of nulls, Arrow makes damaged arrays."""
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_without_null(field.type)) for field in kind])
    if types.is_list(kind):
        return pyarrow.list_(_without_null(kind.value_type))
    return pyarrow.string() if types.is_null(kind) else kind
