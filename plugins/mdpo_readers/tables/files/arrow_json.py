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
        self._schema = pyarrow.schema([])
        self._failures = 0

    def table(self, texts: Sequence[bytes]) -> pyarrow.Table | None:
        """The rows of some texts, with all columns; None if Arrow may read one of them in another way."""
        content = b"\n".join(texts)
        if self._failures >= _MOST_FAILURES or not _is_usual(content, len(texts)):
            return None
        found = self._parsed(content)
        if found is None and self._learn(texts):
            found = self._parsed(content)
        self._failures = self._failures + 1 if found is None else 0
        return found if found is not None and found.num_rows == len(texts) else None

    def _parsed(self, content: bytes) -> pyarrow.Table | None:
        reading = json.ReadOptions(use_threads=False, block_size=len(content) + 1)
        try:
            parsing = json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="error")
            return json.read_json(pyarrow.BufferReader(content), reading, parsing)
        except pyarrow.ArrowException:
            return None

    def _learn(self, texts: Sequence[bytes]) -> bool:
        """Add the types of these rows; False if Arrow has none for them."""
        if any(text.count(b"{") + text.count(b"[") > _MOST_BRACKETS for text in texts):
            return False
        try:
            found = pyarrow.schema(pyarrow.array([values_of(text) for text in texts]).type)
            schema = pyarrow.unify_schemas([self._schema, found], promote_options="permissive")
        except (BadRow, OverflowError, pyarrow.ArrowException):
            return False
        if not all(map(_is_exact, schema.types)):
            return False
        self._schema = schema
        return True


def _is_usual(content: bytes, num_rows: int) -> bool:
    """Whether each row is an object of its own, and all are whole characters of UTF-8."""
    if not content.startswith(b"{") or not content.endswith(b"}") or content.count(b"}\n{") != num_rows - 1:
        return False
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
