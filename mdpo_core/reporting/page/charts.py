"""The curves of a page: which numbers share a chart, and their points, few enough for a small page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mdpo_core.reporting.groups import Group
from mdpo_core.reporting.remarks import is_speed
from mdpo_core.reporting.stored_run import Records

_MOST_POINTS = 300
_MOST_LINES = 24  # of a chart; further ones stand in a chart of the same title
_CONTINUED = ", continued"
_LOG_2 = math.log(2)
# The title of a chart, how its numbers begin, and the value at which nothing is learned.
_KINDS: tuple[tuple[str, str, float | None], ...] = (
    ("Loss of each term, nats a pair", "loss/", _LOG_2),
    ("Accuracy of each term: share of pairs with a margin above 0", "rewards/accuracy/", 0.5),
    ("Margin of each term: difference of two rewards", "rewards/margin/", 0.0),
    ("Reward of each view: beta times its log-ratio", "rewards/", 0.0),
    ("Answers that are likelier with their picture: share", "logps/accuracy/", 0.5),
    ("Log-prob that the picture adds to an answer, nats", "logps/margin/", 0.0),
    ("Log-prob of each view, nats", "logps/", None),
)
# Of the probe: its rewards may happen to lie between 0 and 1.
_UNITS = {
    "accuracy": "share of the pairs whose chosen answer is preferred",
    "gap": "share of the pairs whose chosen answer is preferred",
    "chosen": "reward of the chosen answer, without beta, nats",
    "logps_per_token": "log-prob of the chosen answer, nats a token",
}
_OTHERS = ("grad_norm", "learning_rate", "pairs_per_second", "memory_gb", "data_wait", "mfu")

Kind = Literal["trained", "measured", "pale"]


@dataclass(frozen=True)
class Line:
    """A curve. ``kind``: of training, measured by an evaluator, or one of several runs behind their mean."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    kind: Kind = "trained"
    color: int = 0


@dataclass(frozen=True)
class Chart:
    """Curves of one unit. ``level``: the value at which nothing is learned. ``is_extra``: few people look at it."""

    title: str
    lines: list[Line] = field(default_factory=list)
    level: float | None = None
    is_extra: bool = False


def charts_of(records: Records) -> list[Chart]:
    """The charts of a run: by term, by view with its condition, by source, by evaluator; then of the machine."""
    charts: dict[str, Chart] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        place = _place(name, records)
        if place is None:
            continue
        title, curve, level = place
        while len(charts.setdefault(title, Chart(title, [], level, is_extra=name in _OTHERS)).lines) == _MOST_LINES:
            title += _CONTINUED
        chart = charts[title]
        steps, values = points_of(records, name)
        if steps:
            kind: Kind = "measured" if name.startswith("eval/") else "trained"
            chart.lines.append(Line(curve, steps, values, kind, _color(curve, chart.lines)))
    order = [title for title, _, _ in _KINDS]
    found = [chart for chart in charts.values() if chart.lines]
    return sorted(found, key=lambda each: (each.is_extra, _rank(each.title.partition(_CONTINUED)[0], order)))


def _rank(title: str, order: Sequence[str]) -> int:
    return order.index(title) if title in order else len(order)


def _place(name: str, records: Records) -> tuple[str, str, float | None] | None:
    """The title of a number's chart, the name of its curve there, and the chart's level; None if it has no curve."""
    if name in _OTHERS:
        return name, name, None
    evaluator, _, measured = name.removeprefix("eval/").partition("/") if name.startswith("eval/") else ("", "", name)
    behind = f" ({evaluator})" if evaluator else ""
    if evaluator in ("", "preference"):
        for title, prefix, level in _KINDS:
            if measured == prefix.rstrip("/") == "loss":
                return title, f"sum{behind}", level
            if measured.startswith(prefix):
                curve = measured.removeprefix(prefix)
                return (f"{title}, by source" if "/" in curve else title), f"{curve}{behind}", level
    if not evaluator:
        return None
    values = [record[name] for record in records if name in record]
    between = all(0 <= value <= 1 for value in values)
    unit = _UNITS.get(measured.partition("/")[0]) if evaluator == "probe" else None
    return f"{evaluator}: {unit or ('shares' if between else 'other numbers')}", measured, None


def _color(curve: str, lines: Sequence[Line]) -> int:
    """A curve and the same measured on held-out rows have one colour."""
    own = curve.partition(" (")[0]
    colors = {line.name.partition(" (")[0]: line.color for line in lines}
    return colors.get(own, len(colors))


def points_of(records: Records, name: str) -> tuple[list[float], list[float]]:
    """The steps and values of a number, where it is finite; means of neighbours if there are many."""
    points = [(record["step"], record[name]) for record in records if name in record and math.isfinite(record[name])]
    size = -(-len(points) // _MOST_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [part[-1][0] for part in parts], [sum(value for _, value in part) / len(part) for part in parts]


def compared_charts(groups: Sequence[Group]) -> list[Chart]:
    """A chart for each number that has a curve: the runs of each group, and their mean where there are several."""
    runs = [run for group in groups for run in group.runs]
    names = dict.fromkeys(name for run in runs for record in run.records for name in record)
    charts = [Chart(name, list(_lines(groups, name)), is_extra=is_speed(name)) for name in names if _has_curve(name)]
    found = [chart for chart in charts if any(len(line.steps) > 1 for line in chart.lines)]
    return sorted(found, key=lambda chart: (chart.is_extra, not chart.title.startswith("eval/")))


def _has_curve(name: str) -> bool:
    return name not in ("step", "epoch", "skipped_updates", "learning_rate", "tokens_per_second", "tflops")


def _lines(groups: Sequence[Group], name: str) -> Iterator[Line]:
    kind: Kind = "measured" if name.startswith("eval/") else "trained"
    for color, group in enumerate(groups):
        found = [points_of(run.records, name) for run in group.runs]
        found = [(steps, values) for steps, values in found if steps]
        if len(found) > 1:
            yield from (Line(group.name, steps, values, "pale", color) for steps, values in found)
        if found:
            yield Line(group.name, *_mean(found), kind, color)


def _mean(found: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[list[float], list[float]]:
    """The mean of curves, at the steps that all of them have."""
    tables = [dict(zip(steps, values, strict=True)) for steps, values in found]
    common = [step for step in tables[0] if all(step in table for table in tables)]
    return common, [sum(table[step] for table in tables) / len(tables) for step in common]


def as_json(charts: Sequence[Chart]) -> str:
    """The charts for the script of the page: a JSON text that cannot end the element that it is in."""
    text = json.dumps(list(map(_as_json, charts)), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _as_json(chart: Chart) -> dict[str, Any]:
    """Steps that several curves share stand there once."""
    xs: list[list[float]] = []
    lines = []
    for line in chart.lines:
        steps = list(line.steps)
        if steps not in xs:
            xs.append(steps)
        lone = len(steps) <= 2 and any(other.kind == "trained" for other in chart.lines)
        lines.append(
            {
                "name": line.name,
                "x": xs.index(steps),
                "y": [float(f"{value:.5g}") for value in line.values],
                "kind": line.kind,
                "color": line.color,
                "lone": lone,
            }
        )
    return {"level": chart.level, "xs": xs, "lines": lines}
