"""What ``curves.png`` shows: which metrics share a panel, in which colour, and how noise is smoothed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Records = Sequence[Mapping[str, float]]
Numbers = NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers can tell apart, then three more.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31", "#4D4D4D", "#B2182B")
TOTAL = "#000000"
_SUM = "sum of terms"
_LOG_2 = math.log(2)
_FEWEST_SMOOTHED = 20
# Axes cannot be divided for numbers near the largest.
_TOO_LARGE = 1e30


@dataclass(frozen=True)
class Series:
    """One metric over steps. ``evaluator`` is the one that measured it; empty for what training logs."""

    name: str
    color: str
    steps: Numbers
    values: Numbers
    evaluator: str = ""


@dataclass
class Panel:
    """Metrics of one unit.

    ``level``: the value at which nothing was learned. ``left_out``: how many curves have no room.
    """

    title: str
    level: float | None = None
    series: list[Series] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True)
class _Kind:
    title: str
    prefix: str
    level: float | None


_KINDS = (
    _Kind("loss, nats a pair", "loss/", _LOG_2),
    _Kind("accuracy: share of pairs with a margin above 0", "rewards/accuracy/", 0.5),
    _Kind("margin: difference of two rewards", "rewards/margin/", 0.0),
    _Kind("reward: beta x log-ratio", "rewards/", 0.0),
    _Kind("log-prob of an answer, nats", "logps/", None),
)
# A share and a difference of log-probs, and no log-probs of a view.
_OF_LOGPS = ("logps/accuracy/", "logps/margin/")
_SHARES = "evaluations between 0 and 1"
_OTHERS = "other evaluations"


def panels(records: Records) -> list[Panel]:
    """The panels for all metrics of a run that have a curve; a panel without one is left out."""
    names = list(dict.fromkeys(name for record in records for name in record))
    steps = np.array([record["step"] for record in records], dtype=float)
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for name in names:
        title, curve, evaluator = _place(name, records)
        if title:
            found.setdefault(title, {}).setdefault(curve, []).append((name, evaluator))
    colors = _colors(found)
    order = [*(kind.title for kind in _KINDS), _SHARES, _OTHERS]
    return [_panel(title, found[title], colors, steps, records) for title in order if title in found]


def evaluated(records: Records) -> list[float]:
    """The steps after which the model was evaluated."""
    return [record["step"] for record in records if any(name.startswith("eval/") for name in record)]


def smoothed(values: Numbers) -> Numbers:
    """The mean of the points around each one.

    Near the start it is of as many points on both sides, so that a curve begins at its first value. Near the end it is
    of those that are there. A value that is not a number counts for no mean and stays.
    """
    places = np.arange(len(values))
    reach = np.minimum(window(len(values)) // 2, places)
    first, end = places - reach, np.minimum(places + reach + 1, len(values))
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    means = (sums[end] - sums[first]) / np.maximum(counts[end] - counts[first], 1)
    return np.where(known, means, np.nan)


def window(number: int) -> int:
    """How many of ``number`` points a smoothed one is the mean of: odd, and 1 if there are few."""
    return 1 if number < _FEWEST_SMOOTHED else 2 * max(1, round(number / 40)) + 1


def _place(name: str, records: Records) -> tuple[str, str, str]:
    """The title of the metric's panel, the name of its curve, and its evaluator; empty if it has no curve."""
    _, _, of_evaluator = name.partition("eval/") if name.startswith("eval/") else ("", "", "")
    evaluator, _, measured = of_evaluator.partition("/")
    for kind in _KINDS:
        curve = _curve(measured or name, kind)
        if curve:
            return kind.title, curve, evaluator
    if not evaluator:
        return "", "", ""
    values = [record[name] for record in records if name in record]
    between = all(0 <= value <= 1 for value in values if math.isfinite(value))
    return (_SHARES if between else _OTHERS), of_evaluator, evaluator


def _curve(name: str, kind: _Kind) -> str:
    if name.startswith(_OF_LOGPS):
        return ""
    if name == kind.prefix.rstrip("/") == "loss":
        return _SUM
    return name.removeprefix(kind.prefix) if name.startswith(kind.prefix) else ""


def _colors(found: Mapping[str, Mapping[str, object]]) -> dict[tuple[str, str], str]:
    """A colour for each curve of each panel: a term has the same one in all of its panels, and so does a view."""
    colors = {(kind.title, _SUM): TOTAL for kind in _KINDS}
    groups = ([kind.title for kind in _KINDS[:3]], [kind.title for kind in _KINDS[3:]], [_SHARES], [_OTHERS])
    for titles in groups:
        curves = dict.fromkeys(curve for title in titles for curve in found.get(title, {}) if curve != _SUM)
        of_curves = {curve: COLORS[index % len(COLORS)] for index, curve in enumerate(sorted(curves, key=_place_of))}
        colors |= {(title, curve): color for title in titles for curve, color in of_curves.items()}
    return colors


def _place_of(curve: str) -> int:
    """The sum comes first. A metric of one source of a mixture has one slash more, and comes last."""
    return -1 if curve == _SUM else curve.count("/")


def _panel(
    title: str,
    curves: Mapping[str, list[tuple[str, str]]],
    colors: Mapping[tuple[str, str], str],
    steps: Numbers,
    records: Records,
) -> Panel:
    level = next((kind.level for kind in _KINDS if kind.title == title), None)
    shown = sorted(curves, key=_place_of)
    panel = Panel(title, level, left_out=max(0, len(shown) - len(COLORS)))
    for curve in shown[: len(COLORS)]:
        for name, evaluator in curves[curve]:
            values = np.array([record.get(name, np.nan) for record in records], dtype=float)
            there = np.array([name in record for record in records])
            values = np.where(np.abs(values) < _TOO_LARGE, values, np.nan)
            panel.series.append(Series(curve, colors[title, curve], steps[there], values[there], evaluator))
    return panel
