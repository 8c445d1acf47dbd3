"""Which rows make which step, and at which learning rate."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import Train, World
from mdpo_core.data.sampler import Sampler
from mdpo_core.training.schedule import learning_rate

samplers = st.builds(
    Sampler,
    lengths=st.lists(st.integers(2, 9), min_size=1, max_size=60),
    batch_size=st.integers(1, 16),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
    window=st.integers(0, 4),
)


def padding(sampler: Sampler, size: int) -> int:
    """Tokens of padding in an epoch, every row being as long as the longest of its micro-batch."""
    found = 0
    for step in range(sampler.steps_per_epoch):
        for part in sampler.micro_batches(step, size):
            lengths = [sampler.lengths[row] for row in part.rows]
            found += max(lengths) * len(lengths) - sum(lengths)
    return found


@given(samplers)
def test_every_row_comes_once_an_epoch_and_none_is_dropped(sampler: Sampler) -> None:
    for epoch in range(sampler.epochs):
        steps = [step for step in range(sampler.num_steps) if sampler.epoch(step) == epoch]
        assert Counter(row for step in steps for row in sampler.rows(step)) == Counter(range(len(sampler.lengths)))


@given(samplers)
def test_only_the_last_batch_of_an_epoch_may_be_smaller(sampler: Sampler) -> None:
    sizes = [len(sampler.rows(step)) for step in range(sampler.steps_per_epoch)]
    assert all(size == sampler.batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= sampler.batch_size


def test_the_order_is_that_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = Sampler([1] * 50, 5, 2, seed)
        return [sampler.rows(step) for step in range(epoch * 10, epoch * 10 + 10)]

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("seed", [0, 7, 2**62])
def test_order_is_torch_permutation_seeded_by_seed_and_epoch(seed: int) -> None:
    """Pinned: a run that resumes under a newer version must go on in the order in which it began."""
    for epoch in (0, 1):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 9_223_372_036_854_775_808)
        expected = torch.randperm(50, generator=generator).tolist()
        sampler = Sampler([1] * 50, 50, 2, seed)
        assert sampler.rows(epoch) == expected


@given(samplers, st.integers(1, 5))
def test_the_micro_batches_of_a_step_are_its_rows_by_length(sampler: Sampler, size: int) -> None:
    for step in range(sampler.num_steps):
        # Another sampler, as another process would have it, or a resumed run.
        parts = replace(sampler).micro_batches(step, size)
        rows = [row for part in parts for row in part.rows]
        assert rows == sampler.rows(step)
        assert [sampler.lengths[row] for row in rows] == sorted(sampler.lengths[row] for row in rows)
        assert all(len(part.rows) == size for part in parts[:-1])
        assert {part.epoch for part in parts} == {sampler.epoch(step)}


@given(samplers, st.integers(1, 5), st.integers(1, 5))
def test_processes_share_steps_evenly_and_take_no_pair_twice(sampler: Sampler, size: int, processes: int) -> None:
    for step in range(sampler.num_steps):
        alone = sampler.micro_batches(step, size)
        shares = [sampler.micro_batches(step, size, World(rank, processes)) for rank in range(processes)]
        assert {len(share) for share in shares} == {-(-len(alone) // processes)}
        # The same micro-batches under the same numbers, which dropout is drawn by.
        counted = [part for share in shares for part in share if not part.is_filler]
        assert sorted(counted, key=lambda part: part.number) == alone
        numbers = [part.number for share in shares for part in share]
        assert len(set(numbers)) == len(numbers)
        # Those that wait for one another have rows of similar lengths.
        for together in zip(*shares, strict=True):
            found = sorted(part.number for part in together if not part.is_filler)
            assert found == list(range(found[0], found[0] + len(found)))


def shuffled_groups(sampler: Sampler) -> list[list[int]]:
    """The rows of an epoch by group, where the first row of each group was shuffled to."""
    alone = replace(sampler, groups=(), window=0, batch_size=len(sampler.lengths), lengths=[1] * len(sampler.lengths))
    order = alone.rows(0)
    names = dict.fromkeys(sampler.groups[row] for row in order)
    return [[row for row in order if sampler.groups[row] == name] for name in names]


grouped_samplers = st.integers(1, 60).flatmap(
    lambda number: st.builds(
        Sampler,
        lengths=st.lists(st.integers(2, 9), min_size=number, max_size=number),
        batch_size=st.integers(1, 16),
        epochs=st.integers(1, 3),
        seed=st.integers(0, 5),
        groups=st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), min_size=number, max_size=number),
    )
)


@given(grouped_samplers)
def test_rows_of_a_group_come_one_after_the_other(sampler: Sampler) -> None:
    expected = [row for part in shuffled_groups(sampler) for row in part]
    size = sampler.batch_size
    for step in range(sampler.steps_per_epoch):
        rows = sampler.rows(step)
        assert sorted(rows) == sorted(expected[step * size : step * size + size])
        names = [sampler.groups[row] for row in rows]
        changes = 1 + sum(one != other for one, other in pairwise(names))
        assert changes == len(set(names)), "a group of a batch is parted"


@given(grouped_samplers, st.integers(1, 5), st.integers(1, 5))
def test_groups_keep_every_row_once_and_are_the_same_in_all_processes(
    sampler: Sampler, size: int, processes: int
) -> None:
    for epoch in range(sampler.epochs):
        steps = [step for step in range(sampler.num_steps) if sampler.epoch(step) == epoch]
        assert Counter(row for step in steps for row in sampler.rows(step)) == Counter(range(len(sampler.lengths)))
    for step in range(sampler.num_steps):
        shares = [replace(sampler).micro_batches(step, size, World(rank, processes)) for rank in range(processes)]
        rows = [row for share in shares for part in share if not part.is_filler for row in part.rows]
        assert sorted(rows) == sorted(sampler.rows(step))


def test_micro_batches_part_no_group_of_their_size() -> None:
    """Pairs of rows, and rows alone, in micro-batches of two."""
    sampler = Sampler([2] * 24, 8, 1, seed=3, groups=[bytes([row // 2 if row < 16 else row]) for row in range(24)])
    for step in range(sampler.steps_per_epoch):
        rows = sampler.rows(step)
        whole = [name for name, count in Counter(sampler.groups[row] for row in rows).items() if count == 2]
        parts = [{sampler.groups[row] for row in part.rows} for part in sampler.micro_batches(step, 2)]
        assert all({name} in parts for name in whole)


def batches(sampler: Sampler) -> list[list[int]]:
    return [sorted(sampler.rows(step)) for step in range(sampler.steps_per_epoch)]


@given(samplers)
def test_without_window_step_membership_ignores_lengths(sampler: Sampler) -> None:
    """Without a window, lengths do not decide which pairs share a step."""
    shuffled = replace(sampler, lengths=[1] * len(sampler.lengths), window=0)
    assert batches(replace(sampler, window=0)) == batches(shuffled)


def rows_by_window(found: Sequence[Sequence[int]], window: int) -> list[set[int]]:
    return [{row for batch in found[start : start + window] for row in batch} for start in range(0, len(found), window)]


@given(samplers.filter(lambda sampler: sampler.window > 0))
def test_no_row_leaves_its_window(sampler: Sampler) -> None:
    grouped, shuffled = batches(sampler), batches(replace(sampler, window=0))
    assert rows_by_window(grouped, sampler.window) == rows_by_window(shuffled, sampler.window)


@given(samplers.filter(lambda sampler: sampler.window > 0), st.integers(1, 4))
def test_a_window_never_adds_padding(sampler: Sampler, size: int) -> None:
    # Micro-batches fill batches, as in every recipe.
    sampler = replace(sampler, batch_size=size * -(-sampler.batch_size // size))
    assert padding(sampler, size) <= padding(replace(sampler, window=0), size)


def test_windows_save_most_padding_and_keep_batch_order_random() -> None:
    rng = random.Random(0)
    sampler = Sampler([600 + int(rng.expovariate(1 / 200)) for _ in range(4000)], 32, 1, 0)
    grouped = replace(sampler, window=25)
    assert padding(grouped, 32) < 0.1 * padding(sampler, 32)
    means = [sum(sampler.lengths[row] for row in rows) / len(rows) for rows in batches(grouped)]
    rising = sum(one < other for one, other in pairwise(means)) / (len(means) - 1)
    assert 0.35 < rising < 0.65


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
