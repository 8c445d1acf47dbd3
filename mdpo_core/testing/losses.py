"""The contract of losses and anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.interfaces.term import Anchor, Loss, PairLoss, Term
from mdpo_core.testing import score_cases
from mdpo_core.testing.sentences import PROPERTY, Broken, check_options, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.term_calls import check_declarations, gradients_of, running_values, try_columns, values_of
from mdpo_core.types.scores import Scores
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor

# Nats by which log-probs of a long answer can differ; the second is one that a plain log(sigmoid) does not survive.
_FAR = (400.0, 4000.0)


def check_loss(
    loss: Loss,
    *,
    indifference: float | None = None,
    differences_only: bool = True,
    columns: Columns | None = None,
    lead: float = 0.5,
) -> None:
    """Try out a loss.

    ``indifference``: its value where policy and reference agree, if that is always the same (log 2 for a loss that is
    a log-sigmoid of margins). ``differences_only``: it does not change when all its log-ratios move together.
    ``columns``: the values that its data columns may have, 0 to 1 if not given. ``lead``: nats by which one view rises
    and the other falls to see which is preferred, more for a loss that does not fall everywhere.
    """
    check_options(loss, Loss)
    check_declarations(loss)
    known = _columns(loss, columns)
    _check_term(loss, known)
    if indifference is not None:
        _check_indifference(loss, indifference, known)
    if differences_only:
        _check_differences_only(loss, known)
    if isinstance(loss, PairLoss):
        _check_preference(loss, known, lead)


def check_anchor(
    anchor: Anchor,
    *,
    direction: Literal["above", "below", "both"] = "above",
    indifference: float | None = None,
    columns: Columns | None = None,
) -> None:
    """Try out an anchor; ``direction`` is the side on which it wants its view's reward to be, or both far sides cost.

    The other parameters are those of `check_loss`.
    """
    check_options(anchor, Anchor)
    check_declarations(anchor)
    known = _columns(anchor, columns)
    _check_term(anchor, known)
    if indifference is not None:
        _check_indifference(anchor, indifference, known)
    if direction == "both":
        _check_hold(anchor, known)
    else:
        _check_monotone(anchor, 1 if direction == "above" else -1, known)


def _check_term(term: Term, columns: Columns) -> None:
    _check_values(term, columns)
    _check_running(term, columns)
    if term.compares_pairs:
        _check_order(term, columns)
    else:
        _check_rows(term, columns)
    _check_gradients(term, columns)
    _check_stability(term, columns)
    _check_named_views(term, columns)


def _check_values(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def one_value_a_pair(found: Scores) -> None:
        if term.columns():
            try_columns(term, found)
        before = score_cases.flat(found)
        values = values_of(term, found)
        shape, dtype = found.corruptible.shape, next(iter(found.policy.values())).dtype
        require(
            values.shape == shape and values.dtype == dtype,
            f"{name_of(term)} gives {values.dtype} {tuple(values.shape)} for {dtype} {tuple(shape)}",
        )
        require(bool(values.isfinite().all()), f"{name_of(term)} is {values.tolist()} at {score_cases.case(found)}")
        require(_same(values, values_of(term, found)), f"{name_of(term)} gives another value when called again")
        unchanged = all(_same(old, new) for old, new in zip(before, score_cases.flat(found, copy=False), strict=True))
        require(unchanged, f"{name_of(term)} changes the scores that it is given")

    one_value_a_pair()


def _check_running(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def one_number_a_pair(found: Scores) -> None:
        num_pairs = len(found.corruptible)
        for name, values in running_values(term, found).items():
            require(
                values.shape == found.corruptible.shape and bool(values.isfinite().all()),
                f"{name_of(term)} gives {values.tolist()} for its running mean '{name}' of {num_pairs} pairs",
            )

    one_number_a_pair()


def _check_order(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def whatever_the_order(found: Scores) -> None:
        there, back = values_of(term, found), values_of(term, score_cases.backwards(found))
        require(
            _close(there.sum(), back.sum()),
            f"{name_of(term)} depends on the order of pairs: {float(there.sum())} in all, {float(back.sum())} with the "
            f"last one first, at {score_cases.case(found)}",
        )

    whatever_the_order()


def _check_rows(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def each_row_by_itself(found: Scores) -> None:
        together = values_of(term, found)
        for row in range(len(together)):
            alone = values_of(term, score_cases.row(found, row))
            require(
                _close(alone, together[row : row + 1]),
                f"{name_of(term)} of a pair depends on the pairs beside it, so the micro-batch size changes the loss: "
                f"{float(alone)} alone, {float(together[row])} together, at {score_cases.case(found)}",
            )

    each_row_by_itself()


def _check_gradients(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns))
    def finite_gradients(found: Scores) -> None:
        gradients = gradients_of(term, found)
        require(bool(gradients), f"{name_of(term)} does not depend on the policy, so it trains nothing")
        for view, gradient in gradients.items():
            require(
                bool(gradient.isfinite().all()),
                f"{name_of(term)} has no finite gradient by {view} at {score_cases.case(found)}",
            )

    finite_gradients()


def _check_stability(term: Term, columns: Columns) -> None:
    @PROPERTY
    @given(st.fixed_dictionaries(dict(columns)))
    def finite_far_out(values: dict[str, float]) -> None:
        for nats in _FAR:
            found = score_cases.far_apart(term.views(), nats, values)
            far = [values_of(term, found), *gradients_of(term, found).values()]
            broken = [row for part in far for row in (~part.isfinite()).nonzero()[:, 0].tolist()]
            if broken:
                where = score_cases.case(score_cases.row(found, min(broken)))
                raise Broken(f"{name_of(term)} or its gradient is not finite at {where}")

    finite_far_out()


def _check_named_views(term: Term, columns: Columns) -> None:
    """Options that name views decide which views a term reads, and nothing else.

    The term is made again with new names in these options, and is given the same numbers under the new names.
    For example, DPO with ``prefer=chosen, over=rejected`` becomes ``prefer=view0@condition, over=view1@condition``.
    The log-probs of ``chosen`` become those of ``view0@condition``, and the values must stay the same. A term that
    reads ``chosen`` whatever ``prefer`` says breaks the contract.
    """
    options = [name for name, value in term if isinstance(value, View)]
    new = {name: View(f"view{index}", "condition") for index, name in enumerate(options)}
    if len({getattr(term, name) for name in options}) < len(options):
        return
    renamed = term.model_copy(update=new)
    check_declarations(renamed)
    require(
        set(new.values()) <= {*renamed.views(), *_unread(term, new)},
        f"{name_of(term)} declares the views {', '.join(map(str, renamed.views()))}, whatever its options say",
    )
    before, after = len(term.views()), len(renamed.views())
    require(before == after, f"{name_of(term)} has {before} views, and {after} where they have other names")
    # A term may derive more views from the named ones (``prompt+chosen``): a view and its new name have one index.
    new_names = dict(zip(term.views(), renamed.views(), strict=True))

    @PROPERTY
    @given(scores(term.views(), columns))
    def reads_what_it_names(found: Scores) -> None:
        require(
            _close(values_of(term, found), values_of(renamed, score_cases.renamed(found, new_names))),
            f"{name_of(term)} changes with the names of its views, at {score_cases.case(found)}",
        )

    reads_what_it_names()


def _unread(term: Term, options: dict[str, View]) -> set[View]:
    """New names of views that a term does not read as its other options are."""
    return {view for name, view in options.items() if getattr(term, name) not in term.views()}


def _check_indifference(term: Term, expected: float, columns: Columns) -> None:
    @PROPERTY
    @given(scores(term.views(), columns, indifferent=True))
    def indifferent(found: Scores) -> None:
        values = values_of(term, found)
        wanted = values.new_full(values.shape, expected)
        require(
            _close(values, wanted),
            f"{name_of(term)} is {values.tolist()} where policy and reference agree, not {expected}, at "
            f"{score_cases.case(found)}",
        )

    indifferent()


def _check_differences_only(loss: Loss, columns: Columns) -> None:
    @PROPERTY
    @given(scores(loss.views(), columns), st.floats(-50, 0))
    def moves_with_nothing(found: Scores, nats: float) -> None:
        values = values_of(loss, found)
        moved = score_cases.moved(found, dict.fromkeys(loss.views(), nats))
        require(
            _close(values, values_of(loss, moved)),
            f"{name_of(loss)} changes when all its log-ratios move by {nats} nats, at {score_cases.case(found)}",
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
            f"'{loss.prefer}' is {2 * lead:g} nats higher, and {worse} where it is as much lower",
        )

    prefers_what_it_says()


def _check_monotone(anchor: Anchor, sign: int, columns: Columns) -> None:
    @PROPERTY
    @given(scores(anchor.views(), columns), st.floats(0.1, 50))
    def falls_towards_its_side(found: Scores, nats: float) -> None:
        high = values_of(anchor, found)
        low = values_of(anchor, score_cases.moved(found, {anchor.on: -nats}))
        require(
            bool((sign * (low - high) >= -1e-12 * high.abs()).all()),
            f"{name_of(anchor)} goes from {high.tolist()} to {low.tolist()} when the log-ratio of '{anchor.on}' "
            f"falls by {nats} nats, at {score_cases.case(found)}",
        )

    falls_towards_its_side()
    level = score_cases.level(anchor.views(), dict.fromkeys(columns, 0.5))
    low, high = (values_of(anchor, score_cases.moved(level, {anchor.on: nats})).item() for nats in (-50.0, 50.0))
    require(sign * (low - high) > 0, f"{name_of(anchor)} costs {low} at -50 nats and {high} at 50: it holds nothing")


def _check_hold(anchor: Anchor, columns: Columns) -> None:
    level = score_cases.level(anchor.views(), dict.fromkeys(columns, 0.5))
    low, here, high = (
        values_of(anchor, score_cases.moved(level, {anchor.on: nats})).item() for nats in (-50.0, 0.0, 50.0)
    )
    require(
        low > here < high, f"{name_of(anchor)} costs {low} at -50 nats, {here} at 0 and {high} at 50: it holds nothing"
    )


def _columns(term: Term, columns: Columns | None) -> Columns:
    return {name: st.floats(0, 1) for name in term.columns()} | dict(columns or {})


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-9 * (1 + other.abs().max()))
