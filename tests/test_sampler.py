"""Which rows make which step, and at which learning rate."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import Train
from mdpo_core.sampler import Sampler
from mdpo_core.schedule import learning_rate

samplers = st.builds(Sampler, st.integers(1, 60), st.integers(1, 16), st.integers(1, 3), st.integers(0, 5))


@given(samplers)
def test_every_row_comes_once_an_epoch_and_none_is_dropped(sampler: Sampler) -> None:
    for epoch in range(sampler.epochs):
        steps = [step for step in range(sampler.num_steps) if sampler.epoch(step) == epoch]
        assert Counter(row for step in steps for row in sampler.rows(step)) == Counter(range(sampler.num_rows))


@given(samplers)
def test_only_the_last_batch_of_an_epoch_may_be_smaller(sampler: Sampler) -> None:
    sizes = [len(sampler.rows(step)) for step in range(sampler.steps_per_epoch)]
    assert all(size == sampler.batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= sampler.batch_size


def test_the_order_is_that_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return Sampler(50, 50, 2, seed).rows(epoch)

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@given(st.sampled_from(["cosine", "linear", "constant"]), st.floats(0, 1), st.integers(1, 200))
def test_the_rate_rises_to_its_peak_once_and_never_again(schedule: str, ratio: float, num_steps: int) -> None:
    train = Train(schedule=schedule, warmup_ratio=ratio, learning_rate=1e-3)
    rates = [learning_rate(train, step, num_steps) for step in range(num_steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1e-3)
    assert all(rate > 0 for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_cosine_is_half_way_down_in_the_middle() -> None:
    train = Train(schedule="cosine", warmup_ratio=0, learning_rate=1.0)
    assert learning_rate(train, 50, 100) == pytest.approx(0.5)
