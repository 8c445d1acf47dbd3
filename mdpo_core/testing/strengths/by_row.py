"""The contract of options that may differ by row: a number for each row does what that number does for all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mdpo_core.interfaces.strengths.by_row import options_by_row, strengths_of, within_limits
from mdpo_core.interfaces.term import Term
from mdpo_core.testing import score_cases
from mdpo_core.testing.sentences import PROPERTY, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.term_calls import values_of
from mdpo_core.types.scores import Scores

_FACTORS = (0.5, 0.75, 0.9, 0.8)


def check_by_row(term: Term, columns: Columns) -> None:
    """Check each option of a term that may differ by row, except its weight, which the objective applies."""
    for option in options_by_row(type(term)):
        if option != "weight" and not strengths_of(term):
            _check_option(term, option, columns)


def _check_option(term: Term, option: str, columns: Columns) -> None:
    import torch

    size = _size_of(term, option)

    @settings(PROPERTY, max_examples=10)  # a formula that is wrong for rows is wrong for nearly all cases
    @given(scores(term.views(), columns), st.permutations(_FACTORS))
    def each_row_has_its_number(drawn: Scores, factors: list[float]) -> None:
        numbers = [factor * size for factor in factors[: len(drawn.corruptible)]]
        together = values_of(term.with_by_row({option: torch.tensor(numbers, dtype=torch.float64)}), drawn)
        for row, number in enumerate(numbers):
            alone = values_of(term.with_by_row({option: number}), drawn)
            require(
                score_cases.nearly_equal(together[row], alone[row]),
                f"'{option}' of {name_of(term)} cannot differ by row: row {row + 1} costs {float(together[row])} with "
                f"{numbers}, and {float(alone[row])} with {number} for all rows, at {score_cases.case(drawn)}; "
                "use it only with tensors of the shape (batch,), or declare it as a float",
            )

    each_row_has_its_number()


def _size_of(term: Term, option: str) -> float:
    """A number whose products with the factors are valid: the option's own, or the largest of a few that is."""
    import torch

    value = getattr(term, option)
    # With 0, all rows would have the same number.
    sizes = [*([value] if isinstance(value, (int, float)) and value else []), 1.0, 0.5, 0.1]
    factors = torch.tensor(_FACTORS, dtype=torch.float64)
    return next((size for size in sizes if bool(within_limits(term, option, size * factors).all())), sizes[0])
