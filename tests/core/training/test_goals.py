"""Which evaluation is the best, and when training ends: compared with straight-line readings of the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import RecipeError
from mdpo_core.interfaces.train_options import Goal, KeepBest, StopEarly
from mdpo_core.training.goals import Goals

METRIC = "eval/preference/loss"
VALUES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)
MODES = st.sampled_from(["max", "min"])


def goals(mode: str, patience: int = 3, min_delta: float = 0.0) -> Goals:
    best = KeepBest(metric=METRIC, mode=mode)  # type: ignore[arg-type]
    return Goals(best, StopEarly(metric=METRIC, mode=mode, patience=patience, min_delta=min_delta))  # type: ignore[arg-type]


def stop_of(values: Sequence[float], mode: str, patience: int, min_delta: float) -> int | None:
    """The evaluation, counted from 1, after which patience is at an end; None if it never is."""
    sign = 1 if mode == "max" else -1
    best, since = None, 0
    for number, value in enumerate(values, start=1):
        since = 0 if best is None or sign * value > sign * best + min_delta else since + 1
        best = value if since == 0 else best
        if since == patience:
            return number
    return None


@given(VALUES, MODES)
def test_the_best_step_is_the_first_with_the_best_value(values: list[float], mode: str) -> None:
    found = goals(mode)
    for step, value in enumerate(values, start=1):
        found.judge(step, {METRIC: value})
    wanted = max(values) if mode == "max" else min(values)
    assert found.best_step == values.index(wanted) + 1


@given(VALUES, MODES, st.integers(1, 4), st.sampled_from([0.0, 1.0, 2.5]))
def test_training_ends_after_as_many_evaluations_without_a_better_one(
    values: list[float], mode: str, patience: int, min_delta: float
) -> None:
    found = goals(mode, patience, min_delta)
    stopped = None
    for step, value in enumerate(values, start=1):
        found.judge(step, {METRIC: value})
        if stopped is None and found.reason_to_stop:
            stopped = step
    assert stopped == stop_of(values, mode, patience, min_delta)


@given(VALUES, MODES, st.data())
def test_a_resumed_run_decides_as_an_unstopped_one(values: list[float], mode: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    one, other = goals(mode), goals(mode)
    for step, value in enumerate(values, start=1):
        one.judge(step, {METRIC: value})
    other.resume({step: {METRIC: value} for step, value in enumerate(values[:cut], start=1)}, range(1, cut + 1))
    for step, value in enumerate(values[cut:], start=cut + 1):
        other.judge(step, {METRIC: value})
    assert (one.best_step, one.reason_to_stop) == (other.best_step, other.reason_to_stop)


@pytest.mark.parametrize(
    ("metric", "mode", "better"),
    [
        ("eval/preference/loss", None, 1.0),
        ("eval/preference/loss/picture", None, 1.0),
        ("eval/preference/loss", "max", 2.0),
        ("eval/preference/rewards/accuracy/picture", None, 2.0),
        ("eval/preference/rewards/accuracy/picture", "min", 1.0),
        ("eval/mine/perplexity", None, 2.0),
        ("eval/mine/lossless", None, 2.0),
        ("eval/loss/accuracy", None, 2.0),
    ],
)
def test_less_of_a_loss_is_better_and_more_of_all_others(metric: str, mode: str | None, better: float) -> None:
    best = KeepBest(metric=metric, mode=mode)  # type: ignore[arg-type]
    found = Goals(best, StopEarly(metric=metric, mode=mode, patience=1))  # type: ignore[arg-type]
    for step, value in ((1, 1.0), (2, 2.0)):
        found.judge(step, {metric: value})
    assert found.best_step == int(better)
    assert bool(found.reason_to_stop) is (better == 1.0)
    assert Goal(metric=metric).mode is None


@pytest.mark.parametrize(
    ("mode", "min_delta", "told"),
    [
        ("min", 0.0, "did not get better in 1 evaluation (smaller is better; best: 0.5 after step 1)"),
        ("max", 0.0, "did not get better in 1 evaluation (larger is better; best: 0.5 after step 1)"),
        (
            "min",
            1.0,
            "did not get better in 1 evaluation (smaller is better, and only by more than 1; compared with 0.5 after "
            "step 1)",
        ),
    ],
)
def test_the_reason_to_stop_says_what_is_better(mode: str, min_delta: float, told: str) -> None:
    found = goals(mode, patience=1, min_delta=min_delta)
    worse = 0.25 if min_delta or mode == "max" else 0.75
    for step, value in ((1, 0.5), (2, worse)):
        found.judge(step, {METRIC: value})
    assert found.reason_to_stop == f"{METRIC} {told}"


def test_a_best_model_whose_checkpoint_is_gone_is_not_the_best() -> None:
    found = goals("max")
    found.resume({1: {METRIC: 5.0}, 2: {METRIC: 1.0}, 3: {METRIC: 2.0}}, [2, 3])
    assert found.best_step == 3


def test_the_untrained_model_and_other_metrics_do_not_count() -> None:
    found = goals("max")
    assert not found.judge(0, {METRIC: 9.0})
    assert not found.judge(1, {"eval/other/loss": 9.0})
    assert found.best_step is None
    assert found.judge(2, {METRIC: 1.0})


def test_a_metric_that_the_first_evaluation_lacks_is_named() -> None:
    with pytest.raises(RecipeError, match=r"output.keep_best.metric: 'eval/preference/loss' is not measured"):
        goals("max").require_measured({"eval/preference/losses": 1.0})
    with pytest.raises(RecipeError, match="did you mean 'eval/preference/losses'"):
        goals("max").require_measured({"eval/preference/losses": 1.0})
