"""The contract of losses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.interfaces.term import Loss, PairLoss
from mdpo_core.testing import score_cases
from mdpo_core.testing.sentences import PROPERTY, check_options, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.term_calls import check_declarations, values_of
from mdpo_core.testing.terms import check_indifference, check_term, drawn_columns
from mdpo_core.types.scores import Scores


def check_loss(
    loss: Loss,
    *,
    indifference: float | None = None,
    differences_only: bool = True,
    columns: Columns | None = None,
    lead: float = 0.5,
) -> None:
    """Check a loss; raises `AssertionError` with what it breaks.

    ``indifference``: the loss where policy and reference agree, if it is always the same there (log 2 for a
    log-sigmoid of margins). ``differences_only``: the loss stays the same when all its log-ratios move together.
    ``columns``: the values that its data columns may have; 0 to 1 by default. To see which view the loss prefers, the
    log-ratio of one view rises by ``lead`` nats and the other falls as much; use a larger ``lead`` for a loss that is
    flat or rises in places.
    """
    check_options(loss, Loss)
    check_declarations(loss)
    known = drawn_columns(loss, columns)
    check_term(loss, known)
    if indifference is not None:
        check_indifference(loss, indifference, known)
    if differences_only:
        _check_differences_only(loss, known)
    if isinstance(loss, PairLoss):
        _check_preference(loss, known, lead)


def _check_differences_only(loss: Loss, columns: Columns) -> None:
    @PROPERTY
    @given(scores(loss.views(), columns), st.floats(-50, 0))
    def moves_with_nothing(drawn: Scores, nats: float) -> None:
        values = values_of(loss, drawn)
        moved = score_cases.moved(drawn, dict.fromkeys(loss.views(), nats))
        require(
            score_cases.nearly_equal(values, values_of(loss, moved)),
            f"{name_of(loss)} changes when all its log-ratios move by {nats} nats, at {score_cases.case(drawn)}",
        )

    moves_with_nothing()


def _check_preference(loss: PairLoss, columns: Columns, lead: float) -> None:
    @PROPERTY
    @given(st.fixed_dictionaries(dict(columns)))
    def prefers_what_it_says(values: dict[str, float]) -> None:
        level = score_cases.level(loss.views(), values)
        better, worse = (
            values_of(loss, score_cases.moved(level, {loss.prefer: nats, loss.over: -nats})).item()
            for nats in (lead, -lead)
        )
        require(
            better < worse if not columns else better <= worse,
            f"{name_of(loss)} prefers '{loss.over}' over '{loss.prefer}': it costs {better} where the log-ratio of "
            f"'{loss.prefer}' is {2 * lead:g} nats higher, and {worse} where it is lower by as much",
        )

    prefers_what_it_says()
