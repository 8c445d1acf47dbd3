"""Learning rates of ten steps, computed by hand."""

from __future__ import annotations

import inspect
import re
from math import cos, pi, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import SchedulerType, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from mdpo_core import Train
from mdpo_core.interfaces.train_options import SCHEDULE_OPTIONS
from mdpo_core.training.schedule import learning_rate

EIGHTHS = [8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]


@pytest.mark.parametrize(
    ("schedule", "ratio", "rates"),
    [
        ("linear", 0.2, [1 / 2, 1, *EIGHTHS]),
        ("constant", 0.25, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),  # two and a half steps are three
        ("constant", 1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
    ],
)
def test_rate_rises_evenly_then_falls_towards_0_or_stays(schedule: str, ratio: float, rates: list[float]) -> None:
    train = Train(schedule=schedule, warmup_ratio=ratio, learning_rate=2e-3)
    assert [learning_rate(train, step, 10) for step in range(10)] == pytest.approx([2e-3 * rate for rate in rates])


def test_cosine_spans_only_the_steps_after_the_warm_up() -> None:
    train = Train(schedule="cosine", warmup_ratio=0.2, learning_rate=1)
    rates = [learning_rate(train, step, 10) for step in (2, 4, 6, 8)]
    assert rates == pytest.approx([1, (1 + sqrt(0.5)) / 2, 0.5, (1 - sqrt(0.5)) / 2])


def test_warm_up_can_be_a_number_of_steps() -> None:
    train = Train(schedule="constant", warmup_steps=4, warmup_ratio=0.9, learning_rate=1)
    assert [learning_rate(train, step, 10) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    train = Train(schedule="linear", warmup_steps=20, learning_rate=1)  # more than the run has
    assert learning_rate(train, 9, 10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("schedule", "options", "rate"),
    [
        ("polynomial", {"power": 2, "lr_end": 0.1}, lambda left: 0.1 + 0.9 * left**2),
        ("cosine_with_restarts", {"num_cycles": 2}, lambda left: (1 + cos(pi * ((2 * (1 - left)) % 1))) / 2),
        ("cosine_with_min_lr", {"min_lr_rate": 0.25}, lambda left: 0.25 + 0.75 * (1 + cos(pi * (1 - left))) / 2),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 4, "decay_type": "linear", "min_lr_ratio": 0.2},
            lambda left: 0.2 + 0.8 * min(1, left * 8 / 4),
        ),
    ],
)
def test_other_schedules_are_their_formulas(schedule: Any, options: dict[str, Any], rate: Any) -> None:
    train = Train(schedule=schedule, schedule_options=options, warmup_steps=2, learning_rate=1.0)
    assert [learning_rate(train, step, 10) for step in (0, 1)] == pytest.approx([0.5, 1])
    found = [learning_rate(train, step, 10) for step in range(2, 10)]
    assert found == pytest.approx([rate(1 - (step - 2) / 8) for step in range(2, 10)])


def test_the_inverse_square_root_falls_by_its_time_scale() -> None:
    train = Train(schedule="inverse_sqrt", schedule_options={"timescale": 9}, warmup_steps=0, learning_rate=1.0)
    assert [learning_rate(train, step, 99) for step in (0, 7, 27)] == pytest.approx([1, 3 / 4, 1 / 2])


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        ("cosine", {"power": 2}, "the schedule 'cosine' has no 'power'; it has no options"),
        ("polynomial", {"powr": 2}, "the schedule 'polynomial' has no 'powr'; its options are power, lr_end"),
        ("warmup_stable_decay", {}, "'warmup_stable_decay' needs schedule_options: {num_decay_steps: ...}"),
        ("warmup_stable_decay", {"num_decay_steps": 0}, "schedule_options: num_decay_steps must be above 0"),
        ("inverse_sqrt", {"timescale": -3}, "schedule_options: timescale must be above 0"),
        ("polynomial", {"power": -1}, "schedule_options: power must be at least 0"),
        ("cosine_with_min_lr", {"num_cycles": 1}, "'cosine_with_min_lr' needs schedule_options: {min_lr_rate: ...}"),
    ],
)
def test_options_that_a_schedule_lacks_or_needs_are_named(schedule: Any, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Train(schedule=schedule, schedule_options=options)


@pytest.mark.parametrize("name", SCHEDULE_OPTIONS)
def test_the_options_are_those_of_transformers(name: str) -> None:
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    assert set(SCHEDULE_OPTIONS[name]) <= set(inspect.signature(function).parameters)


@given(
    st.sampled_from(
        [
            ("linear", {}),
            ("cosine", {}),
            ("polynomial", {}),
            ("polynomial", {"power": 3, "lr_end": 1e-4}),
            ("inverse_sqrt", {}),
            ("inverse_sqrt", {"timescale": 7}),
            ("cosine_with_restarts", {}),
            ("cosine_with_restarts", {"num_cycles": 3}),
            ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
            ("cosine_with_min_lr", {"min_lr_rate": 0.2, "num_cycles": 1.5}),
            ("warmup_stable_decay", {"num_decay_steps": 5}),
            ("warmup_stable_decay", {"num_decay_steps": 3, "decay_type": "linear", "min_lr_ratio": 0.3}),
        ]
    ),
    st.integers(0, 6),
    st.integers(12, 60),
)
def test_after_the_warm_up_the_rate_is_transformers_own(named: Any, warmup: int, num_steps: int) -> None:
    name, options = named
    train = Train(schedule=name, schedule_options=options, warmup_steps=warmup, learning_rate=2e-3)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2e-3)
    own = get_scheduler(name, optimizer, warmup, num_steps, scheduler_specific_kwargs=options or None).lr_lambdas[0]
    found = [learning_rate(train, step, num_steps) for step in range(warmup, num_steps)]
    assert found == pytest.approx([2e-3 * own(step) for step in range(warmup, num_steps)], rel=1e-9, abs=1e-12)
