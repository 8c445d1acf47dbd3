"""Phases on a clock that the test sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mdpo_core.profiling import stopwatch
from mdpo_core.profiling.stopwatch import REST, Stopwatch


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """A watch on which a second passes from one look to the next."""
    seconds: Iterator[int] = iter(range(1000))
    monkeypatch.setattr(Stopwatch, "_now", lambda self: next(seconds))
    return Stopwatch(torch.device("cpu"), whole=("whole",))


def test_time_counts_for_the_innermost_phase(watch: Stopwatch) -> None:
    with watch.phase("outer"), watch.phase("inner"):  # outer from 1 to 4, inner from 2 to 3
        pass
    assert watch.seconds() == {REST: 2, "outer": 2, "inner": 1}


def test_nothing_counts_apart_within_a_whole_phase(watch: Stopwatch) -> None:
    with watch.phase("whole"), watch.phase("inner"), watch.phase("whole"):
        pass
    assert watch.seconds() == {REST: 2, "whole": 1}


def test_a_restart_forgets_and_all_time_since_is_in_some_phase(watch: Stopwatch) -> None:
    with watch.phase("before"):
        pass
    watch.restart()
    for _ in range(3):
        with watch.phase("step"):
            pass
    assert watch.seconds() == {REST: 4, "step": 3}


def test_a_phase_ends_with_an_error(watch: Stopwatch) -> None:
    with pytest.raises(ZeroDivisionError), watch.phase("failing"):
        raise ZeroDivisionError
    with watch.phase("next"):
        pass
    assert watch.seconds() == {REST: 3, "failing": 1, "next": 1}


@pytest.mark.parametrize("file", ["absent/clear_refs", "."])
def test_without_a_fresh_start_no_phase_has_a_peak(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not there, or cannot be written: a peak would be that of an earlier phase."""
    monkeypatch.setattr(stopwatch, "_FORGET", tmp_path / file)
    watch = Stopwatch(torch.device("cpu"), whole=())
    with watch.phase("step"):
        pass
    assert "step" in watch.seconds()
    assert watch.peaks() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the process's peak is read from /proc")
def test_memory_that_a_phase_takes_is_its_own() -> None:
    watch = Stopwatch(torch.device("cpu"), whole=())
    with watch.phase("small"):
        pass
    with watch.phase("large"):
        torch.ones(50_000_000)  # 0.2 GB
    with watch.phase("after"):
        pass
    peaks = watch.peaks()
    assert peaks["large"] > peaks["small"] + 0.19
    assert peaks["after"] < peaks["large"] - 0.19
