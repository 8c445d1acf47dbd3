"""Read data columns and check their values; an error names the row of a wrong value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mdpo_core import DataError, Problem

if TYPE_CHECKING:
    from torch import Tensor


class Columns(Protocol):
    """What `Scores` and `Pairs` have in common."""

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """The columns by name, ``(batch,)`` each."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of the rows; may be empty."""


def label(scores: Columns, name: str) -> Tensor:
    """A column whose values must be 0 or 1, as bool."""
    values = scores.columns[name]
    require(scores, (values == 0) | (values == 1), "a label must be 0 or 1, found", {name: values})
    return values == 1


def probability(scores: Columns, name: str) -> Tensor:
    """A column whose values must be from 0 to 1."""
    values = scores.columns[name]
    require(scores, (values >= 0) & (values <= 1), "a probability must be from 0 to 1, found", {name: values})
    return values


def number(scores: Columns, name: str) -> Tensor:
    """A column whose values must be finite."""
    values = scores.columns[name]
    require(scores, values.isfinite(), "must be a finite number, found", {name: values})
    return values


def require(scores: Columns, is_valid: Tensor, rule: str, columns: dict[str, Tensor]) -> None:
    """Raise `DataError` with one problem for each row where ``is_valid (batch,)`` is false.

    Rows are named by ``scores.ids``; if there are no ids, rows are counted from 1.
    """
    if bool(is_valid.all()):
        return
    problems = []
    for row in (~is_valid).nonzero()[:, 0].tolist():
        values_of_row = ", ".join(f"{name} = {float(values[row]):.9g}" for name, values in columns.items())
        location = f"example '{scores.ids[row]}'" if scores.ids else f"row {row + 1} of {len(is_valid)}"
        problems.append(Problem(location, "", f"{rule} {values_of_row}"))
    raise DataError(problems)
