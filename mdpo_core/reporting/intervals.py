"""Means of several seeds, with the interval in which the true mean lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean of ``number`` values. ``interval``: the 95 % interval of the true mean; None for a single value.

    The interval is Student's: it takes the values for independent draws from a normal distribution.
    """

    value: float
    number: int
    interval: tuple[float, float] | None


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of at least one value."""
    value = fmean(values)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return Mean(value, len(values), None)
    reach = student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Mean(value, len(values), (value - reach, value + reach))


def student_quantile(freedom: int, share: float = 0.95) -> float:
    """The ``t`` for which Student's distribution has ``share`` of its mass between ``-t`` and ``t``."""
    low, high = 0.0, 1.0
    while _mass_within(high, freedom) < share:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _mass_within(middle, freedom) < share else (low, middle)
    return high


def _mass_within(t: float, freedom: int) -> float:
    """The mass between ``-t`` and ``t``: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for power in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (power - 1) / power
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))
