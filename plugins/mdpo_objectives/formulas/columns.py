"""Read data columns and check their values; an error names the row of a wrong value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdpo_core import DataError, Problem, Scores

if TYPE_CHECKING:
    from torch import Tensor


def label(scores: Scores, name: str) -> Tensor:
    """A column whose values must be 0 or 1, as bool."""
    values = scores.columns[name]
    require(scores, (values == 0) | (values == 1), "a label must be 0 or 1, found", {name: values})
    return values == 1


def probability(scores: Scores, name: str) -> Tensor:
    """A column whose values must be from 0 to 1."""
    values = scores.columns[name]
    require(scores, (values >= 0) & (values <= 1), "a probability must be from 0 to 1, found", {name: values})
    return values


def number(scores: Scores, name: str) -> Tensor:
    """A column whose values must be finite."""
    values = scores.columns[name]
    require(scores, values.isfinite(), "must be a finite number, found", {name: values})
    return values


def require(scores: Scores, is_valid: Tensor, rule: str, columns: dict[str, Tensor]) -> None:
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
