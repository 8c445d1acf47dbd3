"""Values of a table: text, numbers and names, or a `DataError` that says which row and column."""

from __future__ import annotations

import math
from datetime import date
from reprlib import Repr
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem

_SHOWN = 80
_EXACT = 2**53  # the largest whole number up to which a float holds each
# Python's own repr has no limit, neither of length nor of depth.
_REPR = Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxlong, _REPR.maxother = 4, 2 * _SHOWN, 2 * _SHOWN, 2 * _SHOWN


def shown(value: object) -> str:
    """The value for a message, shortened."""
    text = _REPR.repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class Cell(NamedTuple):
    """One value and its place; ``where`` is as in ``pairs.json row 3``."""

    where: str
    column: str
    value: Any

    def wrong(self, message: str) -> DataError:
        """The error that says ``message`` about this cell."""
        return DataError([Problem(self.where, self.column, message)])

    def must_be(self, expected: str) -> DataError:
        """The error that says what was expected and what was found."""
        return self.wrong(f"must be {expected}, found {shown(self.value)}")


def text(cell: Cell) -> str:
    """Text, which may be empty."""
    if isinstance(cell.value, date):
        raise cell.must_be("text (the column holds dates; write it as text)")
    if not isinstance(cell.value, str):
        raise cell.must_be("text")
    return cell.value


def number(cell: Cell) -> float:
    """A finite number; true and false are 1 and 0."""
    value = cell.value
    if isinstance(value, int) and abs(value) > _EXACT:
        raise cell.must_be(f"a number that a float holds exactly: whole numbers up to {_EXACT}")
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        raise cell.must_be("a finite number")
    return float(value)


def name(cell: Cell) -> str:
    """A row's id: text that is not blank, or a whole number."""
    is_name = isinstance(cell.value, str) and cell.value.strip()
    is_number = isinstance(cell.value, int) and not isinstance(cell.value, bool)
    if not (is_name or is_number):
        raise cell.must_be("text or a whole number, to name the row by")
    return str(cell.value)
