"""Values of a table: text, numbers and names, or a `DataError` that says which row and column."""

from __future__ import annotations

import math
from datetime import date
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem

_SHOWN = 80


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
        value = repr(self.value)
        return self.wrong(f"must be {expected}, found {value if len(value) <= _SHOWN else value[:_SHOWN] + '...'}")


def text(cell: Cell) -> str:
    """Text, which may be empty."""
    if isinstance(cell.value, date):
        # The library converts a column if all of its values look like dates; the original text is lost.
        raise cell.must_be("text (the `datasets` library takes a JSON column of dates for dates; Parquet keeps text)")
    if not isinstance(cell.value, str):
        raise cell.must_be("text")
    return cell.value


def number(cell: Cell) -> float:
    """A finite number; true and false are 1 and 0."""
    if not isinstance(cell.value, bool | int | float) or not math.isfinite(cell.value):
        raise cell.must_be("a finite number")
    return float(cell.value)


def name(cell: Cell) -> str:
    """A row's id: text that is not blank, or a whole number."""
    is_name = isinstance(cell.value, str) and cell.value.strip()
    is_number = isinstance(cell.value, int) and not isinstance(cell.value, bool)
    if not (is_name or is_number):
        raise cell.must_be("text or a whole number, to name the row by")
    return str(cell.value)
