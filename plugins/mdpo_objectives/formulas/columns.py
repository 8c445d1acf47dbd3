"""Data columns; a value that makes no sense is an error that names its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdpo_core import DataError, Problem, Scores

if TYPE_CHECKING:
    from torch import Tensor


def label(scores: Scores, name: str) -> Tensor:
    """A column of 0 and 1, as bool."""
    values = scores.columns[name]
    require(scores, (values == 0) | (values == 1), "a label is 0 or 1, found", {name: values})
    return values == 1


def probability(scores: Scores, name: str) -> Tensor:
    """A column of values from 0 to 1."""
    values = scores.columns[name]
    require(scores, (values >= 0) & (values <= 1), "a probability is from 0 to 1, found", {name: values})
    return values


def number(scores: Scores, name: str) -> Tensor:
    """A column of finite values."""
    values = scores.columns[name]
    require(scores, values.isfinite(), "must be a finite number, found", {name: values})
    return values


def require(scores: Scores, good: Tensor, rule: str, columns: dict[str, Tensor]) -> None:
    """Raise `DataError` with one problem for each row that is not ``good (batch,)``.

    Rows are named by ``scores.ids``; if there are no ids, rows are counted from 1.
    """
    if bool(good.all()):
        return
    problems = []
    for row in (~good).nonzero()[:, 0].tolist():
        found = ", ".join(f"{name} = {float(values[row]):.9g}" for name, values in columns.items())
        where = f"example '{scores.ids[row]}'" if scores.ids else f"row {row + 1} of {len(good)}"
        problems.append(Problem(where, "", f"{rule} {found}"))
    raise DataError(problems)
