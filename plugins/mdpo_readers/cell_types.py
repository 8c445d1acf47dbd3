"""Check single values of a table: text, numbers, row names. A wrong value raises `DataError` with row and column."""

from __future__ import annotations

import ast
import json
import math
import re
from datetime import date
from functools import lru_cache
from reprlib import Repr
from typing import Any, NamedTuple

from mdpo_core import DataError, Flag, Problem

KEY = "key"  # the column of the number of a list, in a JSON file that is one object of lists
_SHOWN = 80
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A list of messages as numpy writes it, without commas, or one that was cut or damaged.
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*(["'])(role|from)\1\s*:\s*["'].*(["'])(content|value)\3\s*:""", re.DOTALL)
# A picture, a video or a sound inside a text.
_EMBEDDED = re.compile(r"data:(image|video|audio)/[\w.+-]+(;[\w=.-]+)*;base64,[A-Za-z0-9+/]{40}")
_EXACT = 2**53  # a float is exact for every whole number up to this one
_BYTES_SHOWN, _LOOKED_AT = 20, 10_000


def _is_text(value: bytes | bytearray) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


class _Short(Repr):
    """Values as short text: Python's own repr has no limit, neither of length nor of depth, and shows all bytes."""

    def repr_bytes(self, value: bytes | bytearray, level: int) -> str:
        is_short = len(value) <= _BYTES_SHOWN or (len(value) <= _LOOKED_AT and _is_text(value))
        return repr(value) if is_short else f"{len(value)} bytes"

    repr_bytearray = repr_bytes


_REPR = _Short()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxlong, _REPR.maxother = 4, 2 * _SHOWN, 2 * _SHOWN, 2 * _SHOWN


def shown(value: object) -> str:
    """The value as short text for a message."""
    text = _REPR.repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def one_line(text: str) -> str:
    r"""The text with ``\n`` for a line break, and the like for other control characters."""
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def yaml_path(path: object) -> str:
    """A path as a line of YAML writes it, in quotes where it needs them."""
    text = str(path)
    return text if re.fullmatch(r"[\w./~][\w./~@+=*-]*", text, re.ASCII) else json.dumps(text, ensure_ascii=False)


class MissingFile(DataError):
    """A row names a file or a folder that is not where its path leads."""


class Cell(NamedTuple):
    """One value of a table, with its row (``where``, such as ``pairs.json row 3``) and its column."""

    where: str
    column: str
    value: Any

    def wrong(self, message: str) -> DataError:
        """An error with this cell's row and column and ``message``."""
        return DataError([Problem(one_line(self.where), one_line(self.column), one_line(message))])

    def lacks_file(self, message: str) -> MissingFile:
        """The error `wrong` for a file that is not where its path leads."""
        return MissingFile(self.wrong(message).problems)

    def must_be(self, expected: str, remedy: str = "") -> DataError:
        """An error that says what was expected and what the cell contains; ``remedy`` ends its sentence."""
        return self.wrong(f"must be {expected}, found {shown(self.value)}{remedy}")


def holds_tools(value: object) -> bool:
    """Whether a value names tools or calls them; null, and an empty list, object or text, do not."""
    return value is not None and value not in ("", "[]", "{}", "null", [], {})


def _is_python(written: str) -> bool:
    """Whether a text is a value in JSON, or as Python writes it."""
    try:
        json.loads(written)
    except (ValueError, RecursionError):
        try:
            ast.literal_eval(written.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return False
    return True


def text(cell: Cell) -> str:
    """The cell's text, which may be empty."""
    if isinstance(cell.value, date):
        raise cell.must_be("text (the column holds dates; write it as text)")
    if isinstance(cell.value, bytes):
        raise cell.must_be("text (the column holds bytes; write it as text)")
    if cell.value is None:
        raise cell.wrong("must be text, found None; write the text, or remove the row")
    if not isinstance(cell.value, str):
        raise cell.must_be("text")
    _require_letters(cell)
    return cell.value


def _require_letters(cell: Cell) -> None:
    """Raise `DataError` if a text stands for something else: a file, or messages."""
    if ";base64," in cell.value and (found := _EMBEDDED.search(cell.value)):
        raise cell.wrong(
            f"has a file in its text, as base64: {shown(found[0])}; write the picture or the video into a column of "
            "its own, and <image> or <video> where it stands"
        )
    if _MESSAGES.match(cell.value) and cell.value.rstrip().endswith("]") and not _is_python(cell.value):
        raise cell.wrong(
            f"looks like a list of messages, but is neither JSON nor a list of Python: {shown(cell.value)}; write it "
            "as JSON (json.dumps), or store the table as JSON lines or Parquet"
        )


def question(cell: Cell) -> str:
    """The cell's text, which is not blank."""
    found = text(cell)
    if not found.strip():
        raise cell.wrong(f"is an empty question: {found!r}; write the question, or remove the row")
    return found


def beginning(cell: Cell) -> str:
    """The cell's text, from which an answer goes on; null and blank text are none."""
    found = "" if cell.value is None else text(cell)
    return found if found.strip() else ""


def number(cell: Cell) -> float:
    """The cell's number, which is finite; true and false are 1 and 0, as a `Flag`."""
    value = cell.value
    if isinstance(value, bool):
        return Flag(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        raise cell.must_be(f"a number that a float holds exactly: whole numbers up to {_EXACT}")
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise _not_finite(cell)
    return float(value)


def _not_finite(cell: Cell) -> DataError:
    is_written = isinstance(cell.value, str) and number_in(cell.value) is not None
    remedy = ", a text; write it without quotation marks" if is_written else "; write a number, or remove the row"
    return cell.must_be("a finite number", remedy)


def written_number(cell: Cell) -> float:
    """The finite number that a text means."""
    found = None if cell.value is None else number_in(text(cell))
    if found is None:
        raise _not_finite(cell)
    return found


@lru_cache(maxsize=1024)  # there are few ratings, and a million rows
def number_in(written: str) -> float | None:
    """The finite number that a text means, in digits of ASCII; None for any other text, such as 1_0."""
    found = float(written) if _NUMBER.fullmatch(written) else math.inf
    return found if math.isfinite(found) else None


def number_or_text(cell: Cell) -> float:
    """The finite number of a cell, which may be written as text."""
    return (written_number if isinstance(cell.value, str) else number)(cell)


def name(cell: Cell) -> str:
    """The id of a row, as text; the cell contains text that is not blank, or a whole number."""
    is_name = isinstance(cell.value, str) and cell.value.strip()
    is_number = isinstance(cell.value, int) and not isinstance(cell.value, bool)
    if not (is_name or is_number):
        raise cell.must_be("text or a whole number, as the row's id")
    return str(cell.value)
