"""Learning rates of ten steps, computed by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from mdpo_core import Train
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
