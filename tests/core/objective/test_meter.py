"""Means of metrics, against plain sums over all pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.objective.meter import Meter

VALUES = st.lists(st.floats(-1e3, 1e3, width=32), max_size=5)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_mean_does_not_depend_on_micro_batches(micro_batches: list[list[float]]) -> None:
    meter = Meter()
    for values in micro_batches:
        meter.add({"loss": torch.tensor(values)})
    pairs = [value for values in micro_batches for value in values]
    expected = {"loss": sum(pairs) / len(pairs)} if pairs else {}
    assert meter.means() == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_metric_of_some_micro_batches_is_a_mean_over_their_pairs() -> None:
    meter = Meter()
    meter.add({"loss": torch.tensor([1.0, 3.0]), "rare": torch.tensor([7.0])})
    meter.add({"loss": torch.tensor([8.0])})
    assert meter.means() == {"loss": 4.0, "rare": 7.0}


def test_many_small_values_after_a_large_one_are_not_lost() -> None:
    """A sum in float32 would stay at 2**25."""
    meter = Meter()
    for value in [2.0**25, *[1.0] * 63]:
        meter.add({"loss": torch.tensor([value])})
    assert meter.means() == {"loss": (2.0**25 + 63) / 64}


def test_pairs_that_do_not_count_change_no_mean() -> None:
    meter = Meter()
    counted = {"some": torch.tensor([True, False]), "none": torch.tensor([False, False])}
    meter.add({"all": torch.tensor([1.0, 3.0]), "some": torch.tensor([5.0, torch.nan]), "none": torch.ones(2)}, counted)
    assert meter.means() == {"all": 2.0, "some": 5.0}


PAIRS = st.tuples(st.floats(-1e3, 1e3, width=32), st.booleans(), st.sampled_from(["", "a", "b", "a/c"]))


@given(st.lists(st.lists(PAIRS, min_size=1, max_size=4), max_size=6))
def test_means_by_source_are_those_of_each_sources_pairs_alone(
    micro_batches: list[list[tuple[float, bool, str]]],
) -> None:
    meter = Meter()
    for pairs in micro_batches:
        values, counted, sources = zip(*pairs, strict=True)
        meter.add({"all": torch.tensor(values), "some": torch.tensor(values)}, {"some": torch.tensor(counted)}, sources)
    together = [pair for pairs in micro_batches for pair in pairs]
    expected = {}
    for source in ("", "a", "b", "a/c"):
        of_source = [pair for pair in together if not source or pair[2] == source]
        end = f"/{source}" if source else ""
        for name, kept in (("all", of_source), ("some", [pair for pair in of_source if pair[1]])):
            if kept:
                expected[name + end] = sum(pair[0] for pair in kept) / len(kept)
    assert meter.means() == pytest.approx(expected, rel=1e-9, abs=1e-6)
