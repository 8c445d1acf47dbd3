"""The contract that losses and anchors share: values, running means, gradients and the order of rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.interfaces.term import Term
from mdpo_core.testing import score_cases
from mdpo_core.testing.named_views import check_named_views
from mdpo_core.testing.sentences import PROPERTY, Broken, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.strengths.by_row import check_by_row
from mdpo_core.testing.term_calls import gradients_of, running_values, try_columns, values_of
from mdpo_core.types.scores import Scores

# Nats by which log-probs of a long answer can differ. A plain log(sigmoid) is infinite at the second.
_FAR = (400.0, 4000.0)


def check_term(term: Term, columns: Columns) -> None:
    """Check the properties that every term has. ``columns``: the values that its data columns may have."""
    _check_values(term, columns)
    if term.means:
        _check_running(term, columns)
    if term.compares_pairs:
        _check_order(term, columns)
    else:
        _check_rows(term, columns)
    _check_gradients(term, columns)
    _check_stability(term, columns)
    check_named_views(term, columns)
    check_by_row(term, columns)


def _check_values(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def one_value_a_pair(drawn: Scores) -> None:
        if term.columns():
            try_columns(term, drawn)
        before = score_cases.flat(drawn)
        values = values_of(term, drawn)
        shape, dtype = drawn.corruptible.shape, next(iter(drawn.policy.values())).dtype
        require(
            values.shape == shape and values.dtype == dtype,
            f"{name_of(term)} gives {values.dtype} {tuple(values.shape)} for {dtype} {tuple(shape)}",
        )
        require(bool(values.isfinite().all()), f"{name_of(term)} is {values.tolist()} at {score_cases.case(drawn)}")
        require(
            score_cases.equal(values, values_of(term, drawn)),
            f"{name_of(term)} gives different values for the same scores",
        )
        unchanged = all(
            score_cases.equal(old, new) for old, new in zip(before, score_cases.flat(drawn, copy=False), strict=True)
        )
        require(unchanged, f"{name_of(term)} changes the scores in place")

    one_value_a_pair()


def _check_running(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def one_number_a_pair(drawn: Scores) -> None:
        num_pairs = len(drawn.corruptible)
        for name, values in running_values(term, drawn).items():
            require(
                values.shape == drawn.corruptible.shape and bool(values.isfinite().all()),
                f"{name_of(term)} gives {values.tolist()} for its running mean '{name}'; it must be one finite number "
                f"for each of {num_pairs} pairs",
            )

    one_number_a_pair()


def _check_order(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def whatever_the_order(drawn: Scores) -> None:
        values, reversed_values = values_of(term, drawn), values_of(term, score_cases.backwards(drawn))
        require(
            score_cases.nearly_equal(values.sum(), reversed_values.sum()),
            f"{name_of(term)} depends on the order of pairs: the sum is {float(values.sum())}, and "
            f"{float(reversed_values.sum())} in reverse order, at {score_cases.case(drawn)}",
        )

    whatever_the_order()


def _check_rows(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def each_row_by_itself(drawn: Scores) -> None:
        together = values_of(term, drawn)
        for row in range(len(together)):
            alone = values_of(term, score_cases.row(drawn, row))
            require(
                score_cases.nearly_equal(alone, together[row : row + 1]),
                f"{name_of(term)} depends on the other pairs of the batch, so the micro-batch size changes the loss: "
                f"{float(alone)} alone, {float(together[row])} in the batch, at {score_cases.case(drawn)}",
            )

    each_row_by_itself()


def _check_gradients(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def finite_gradients(drawn: Scores) -> None:
        gradients = gradients_of(term, drawn)
        require(bool(gradients), f"{name_of(term)} does not depend on the policy, so it trains nothing")
        for view, gradient in gradients.items():
            require(
                bool(gradient.isfinite().all()),
                f"{name_of(term)} has a gradient that is not finite, for {view} at {score_cases.case(drawn)}",
            )

    finite_gradients()


def _check_stability(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(st.fixed_dictionaries(dict(columns)))
    def finite_far_out(values: dict[str, float]) -> None:
        for nats in _FAR:
            drawn = score_cases.far_apart(term.views(), nats, values)
            far = [values_of(term, drawn), *gradients_of(term, drawn).values()]
            broken = [row for part in far for row in (~part.isfinite()).nonzero()[:, 0].tolist()]
            if broken:
                case = score_cases.case(score_cases.row(drawn, min(broken)))
                raise Broken(f"{name_of(term)} or its gradient is not finite at {case}")

    finite_far_out()


def check_indifference(term: Term, expected: float, columns: Columns) -> None:
    """Check that a term has the value ``expected`` where policy and reference agree."""

    @PROPERTY
    @given(scores(term.views(), columns, indifferent=True))
    def indifferent(drawn: Scores) -> None:
        values = values_of(term, drawn)
        wanted = values.new_full(values.shape, expected)
        require(
            score_cases.nearly_equal(values, wanted),
            f"{name_of(term)} is {values.tolist()} where policy and reference agree, not {expected}, at "
            f"{score_cases.case(drawn)}",
        )

    indifferent()


def drawn_columns(term: Term, columns: Columns | None) -> Columns:
    """Strategies for the data columns that a term reads: from ``columns``, or else 0 to 1."""
    return {name: st.floats(0, 1) for name in term.columns()} | dict(columns or {})
