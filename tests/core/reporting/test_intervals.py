"""Means over seeds and their intervals. The oracle is SciPy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mdpo_core.reporting.intervals import mean_of, student_quantile


@pytest.mark.parametrize("freedom", [*range(1, 31), 99, 100])
def test_the_quantile_is_that_of_students_distribution(freedom: int) -> None:
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    assert student_quantile(freedom, 0.5) == pytest.approx(stats.t.ppf(0.75, freedom), rel=1e-9)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=20).filter(lambda each: len(set(each)) > 1))
def test_the_interval_is_that_of_scipy(values: list[int]) -> None:
    mean = mean_of(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))
    assert mean.interval == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    assert mean.number == len(values)


def test_one_value_and_values_that_are_no_numbers_have_no_interval() -> None:
    assert mean_of([0.5]) == (0.5, 1, None)
    assert mean_of([0.5, math.inf]).interval is None
