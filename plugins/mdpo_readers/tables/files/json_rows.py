"""Parse one row of a JSON file. No value is changed or lost; a row that cannot be read raises `BadRow`."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

_SHOWN = 40
# Two escapes of this kind in sequence are one character. A single one is half of a character.
HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class BadRow(ValueError):
    """The reason why a row cannot be read. ``line``: the line of its text with the fault, from 0, or None."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def values_of(text: bytes) -> dict[str, Any]:
    """The values of a row by column. Raises `BadRow`."""
    row = _parsed(text)
    if not isinstance(row, dict):
        start = text.decode().strip()
        raise BadRow(f"{start if len(start) < _SHOWN else start[:_SHOWN] + '...'} is not an object")
    if HALF.search(text):
        _require_whole_characters(row)
    return row


def value_in(text: bytes) -> object:
    """The value of any type that a text is; it is read as strictly as a row. Raises `ValueError`."""
    value = _parsed(text)
    if HALF.search(text):
        _require_whole_characters(value)
    return value


def _parsed(text: bytes) -> object:
    if b"\0" in text:
        raise BadRow(
            "it contains zero bytes: the file is damaged, or not UTF-8", text.count(b"\n", 0, text.index(b"\0"))
        )
    try:
        return _DECODER.decode(text.decode())
    except BadRow:
        raise
    except UnicodeDecodeError as error:
        byte = text[error.start : error.start + 1]
        raise BadRow(f"{byte!r} is not UTF-8; save the file as UTF-8", text.count(b"\n", 0, error.start)) from error
    except json.JSONDecodeError as error:
        if error.doc.startswith("\ufeff", error.pos):
            reason = "a byte-order mark stands in the middle of the file, as where two files were joined; remove it"
            raise BadRow(reason, error.lineno - 1) from error
        raise BadRow(f"{error.msg} in column {error.colno}", error.lineno - 1) from error
    except RecursionError as error:
        raise BadRow("it is nested too deeply") from error
    except ValueError as error:
        # Python's parser has no other reason left: int() reads a limited number of digits.
        raise BadRow(f"it contains a whole number with thousands of digits ({error})") from error


def _require_whole_characters(row: object) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start]).strip("'")
        raise BadRow(f"it contains {half}, which is half of a character (a lone surrogate)") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise BadRow(f"the key {twice!r} occurs twice in one object")
    return values


def _number(text: str) -> float:
    """The float of a number with a fraction or an exponent. Raises `BadRow` for a number outside a float's range."""
    value = float(text)
    digits = text.lower().partition("e")[0]
    if value == 0 and digits.strip("-0."):
        raise BadRow(f"the number {text} is too small for a float, which would be 0")
    if abs(value) == float("inf"):
        raise BadRow(f"the number {text} is too large for a float, which would be infinite")
    return value


# Tabs and line breaks in a text are read unchanged. Other problems of a text are found when the row is checked.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, strict=False)
