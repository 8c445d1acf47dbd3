"""Rates per second between two readings of a clock whose time the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mdpo_core import World
from mdpo_core.training.speed import throughput
from mdpo_core.training.speed.throughput import Clock


class TwoProcesses(World):
    """The other process has twice the numbers of this one."""

    def gather(self, value: Any) -> list[Any]:
        return [value, {name: 2 * number for name, number in value.items()}]


def set_times(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    times: Iterator[float] = iter(seconds)
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(times)))


def test_a_reading_has_what_was_counted_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Start; wait from 101 to 103; read at 108 and start again there; read at 110 and start again.
    set_times(monkeypatch, [100, 101, 103, 108, 108, 110, 110])
    clock = Clock()
    with clock.waiting():
        clock.count(pairs=3, tokens=30)
    clock.count(pairs=1, tokens=10)
    assert clock.read() == {"pairs_per_second": 4 / 8, "tokens_per_second": 40 / 8, "data_wait": 2 / 8}
    clock.count(pairs=2, tokens=12)
    assert clock.read() == {"pairs_per_second": 1, "tokens_per_second": 6, "data_wait": 0}


def test_process_rates_are_summed_and_longest_wait_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    set_times(monkeypatch, [0, 1, 2, 10, 10])
    clock = Clock()
    with clock.waiting():
        clock.count(pairs=5, tokens=20)
    assert clock.read(TwoProcesses()) == pytest.approx(
        {"pairs_per_second": 1.5, "tokens_per_second": 6, "data_wait": 0.2}
    )


def test_arithmetic_is_told_beside_what_the_devices_are_capable_of(monkeypatch: pytest.MonkeyPatch) -> None:
    set_times(monkeypatch, [0, 10, 10])
    clock = Clock(matrix_rate=1e12)
    clock.count(pairs=1, tokens=1, flops=2.5e12)
    clock.count(pairs=1, tokens=1, flops=2.5e12)
    # The other process does twice as much on a device that can do twice as much.
    read = clock.read(TwoProcesses())
    assert (read["tflops"], read["mfu"]) == pytest.approx((1.5, 0.5))


def test_what_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    set_times(monkeypatch, [0, 10, 10, 20, 30, 30])
    clock = Clock(matrix_rate=1e12)
    clock.count(pairs=1, tokens=1)
    assert not clock.read().keys() & {"tflops", "mfu"}
    clock = Clock()
    clock.count(pairs=1, tokens=1, flops=1e12)
    assert "mfu" not in clock.read()
