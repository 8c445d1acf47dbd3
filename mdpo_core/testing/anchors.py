"""The contract of anchors."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.interfaces.term import Anchor
from mdpo_core.testing import score_cases
from mdpo_core.testing.sentences import PROPERTY, check_options, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.term_calls import check_declarations, values_of
from mdpo_core.testing.terms import check_indifference, check_term, drawn_columns
from mdpo_core.types.scores import Scores


def check_anchor(
    anchor: Anchor,
    *,
    direction: Literal["above", "below", "both"] = "above",
    indifference: float | None = None,
    columns: Columns | None = None,
) -> None:
    """Check an anchor; raises `AssertionError` with what it breaks.

    ``direction``: the side on which the anchor holds its view's reward; "both" if the penalty rises on both sides.
    The other parameters are those of `check_loss`.
    """
    check_options(anchor, Anchor)
    check_declarations(anchor)
    known = drawn_columns(anchor, columns)
    check_term(anchor, known)
    if indifference is not None:
        check_indifference(anchor, indifference, known)
    if direction == "both":
        _check_hold(anchor, known)
    else:
        _check_monotone(anchor, 1 if direction == "above" else -1, known)


def _check_monotone(anchor: Anchor, sign: int, columns: Columns) -> None:
    @PROPERTY
    @given(scores(anchor.views(), columns), st.floats(0.1, 50))
    def falls_towards_its_side(drawn: Scores, nats: float) -> None:
        high = values_of(anchor, drawn)
        low = values_of(anchor, score_cases.moved(drawn, {anchor.on: -nats}))
        require(
            bool((sign * (low - high) >= -1e-12 * high.abs()).all()),
            f"{name_of(anchor)} goes from {high.tolist()} to {low.tolist()} when the log-ratio of '{anchor.on}' "
            f"falls by {nats} nats, at {score_cases.case(drawn)}",
        )

    falls_towards_its_side()
    level = score_cases.level(anchor.views(), dict.fromkeys(columns, 0.5))
    low, high = (values_of(anchor, score_cases.moved(level, {anchor.on: nats})).item() for nats in (-50.0, 50.0))
    require(
        sign * (low - high) > 0,
        f"{name_of(anchor)} costs {low} at -50 nats and {high} at 50: it does not hold its view",
    )


def _check_hold(anchor: Anchor, columns: Columns) -> None:
    level = score_cases.level(anchor.views(), dict.fromkeys(columns, 0.5))
    low, here, high = (
        values_of(anchor, score_cases.moved(level, {anchor.on: nats})).item() for nats in (-50.0, 0.0, 50.0)
    )
    require(
        low > here < high,
        f"{name_of(anchor)} costs {low} at -50 nats, {here} at 0 and {high} at 50: it does not hold its view",
    )
