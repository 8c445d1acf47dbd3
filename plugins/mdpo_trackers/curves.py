"""Draw the curves of a run from its metrics file, which also contains the steps before a resume."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mdpo_core import TrackerLog
from mdpo_trackers.panels import COLORS, TOTAL, Panel, Records, Series, evaluated, panels, smoothed, window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shades = NDArray[np.uint8]

_MOST_MARKED = 60
_LONGEST_LABEL = 28
_FEW = 12
_MOST_POINTS = 600
_SYMBOLS = {"o": "\u25cf", "s": "\u25a0", "^": "\u25b2"}
_SHADES = 8


class CurvesLog(TrackerLog):
    """A `TrackerLog` that draws when it is closed; it reads all values from the metrics file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        figure = figure_of(self._folder / "metrics.jsonl")
        if figure is not None:
            save_figure(figure, self._folder / "curves.png")


def figure_of(file: Path) -> Figure | None:
    """The curves of a metrics file, which a notebook shows; None if there is no number in it."""
    if not file.is_file():
        return None
    # A killed process may have left the last line incomplete.
    lines = file.read_text().split("\n")[:-1]
    records = [json.loads(line) for line in lines]
    shown = panels(records)
    return _figure(shown, records) if shown else None


def draw_curves(records: Records, path: Path) -> None:
    """Draw losses, accuracies, margins, rewards, log-probs and evaluations over steps; leave out what is not there."""
    shown = panels(records)
    if shown:
        save_figure(_figure(shown, records), path)


def _figure(shown: Sequence[Panel], records: Records) -> Figure:
    from mdpo_trackers.shown_figure import ShownFigure

    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = ShownFigure(figsize=(5.8 * columns, 2.35 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    marks, markers = evaluated(records), _markers(shown)
    last = max(record["step"] for record in records)
    for each, panel in zip(axes, shown, strict=False):
        _draw(each, panel, marks, markers)
        each.set_xlim(-0.02 * last - 0.2, 1.02 * last + 0.2)
    for unused in axes[len(shown) :]:
        unused.set_axis_off()
    figure.supxlabel(_caption(shown, marks, markers), fontsize=8, color="#555555")
    return figure


def _markers(shown: Sequence[Panel]) -> dict[str, str]:
    """The marker of each evaluator."""
    names = dict.fromkeys(each.evaluator for panel in shown for each in panel.series if each.evaluator)
    return {name: [*_SYMBOLS][index % len(_SYMBOLS)] for index, name in enumerate(names)}


def _caption(shown: Sequence[Panel], marks: Sequence[float], markers: Mapping[str, str]) -> str:
    logged = [each for panel in shown for each in panel.series if not each.evaluator]
    widest = max((window(len(each.steps)) for each in logged), default=1)
    parts = ["over optimizer steps"]
    if widest > 1:
        parts.append(f"strong: mean of {widest} points, pale: single points")
    if marks:
        parts.append("upright lines: evaluations")
    if markers:
        parts.append(f"measured by {', '.join(f'{_SYMBOLS[marker]} {name}' for name, marker in markers.items())}")
    return ";  ".join(parts)


def _draw(axes: Axes, panel: Panel, marks: Sequence[float], markers: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(marks) <= _MOST_MARKED:
        for step in marks:
            axes.axvline(step, color="#BBBBBB", linewidth=0.6, zorder=0)
    if panel.level is not None:
        axes.axhline(panel.level, color="#888888", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    logged = [each for each in panel.series if not each.evaluator]
    for series in logged:
        _draw_logged(axes, series, _MOST_POINTS // len(logged))
    for series in panel.series:
        if series.evaluator:
            _draw_measured(axes, series, markers[series.evaluator], beside=bool(logged))
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    _legend(axes, panel)


def _draw_measured(axes: Axes, series: Series, marker: str, beside: bool) -> None:
    # Beside a curve, a line between two points would look like one that nobody has measured.
    line = "none" if beside and len(series.steps) <= 2 else "--"
    [drawn] = axes.plot(series.steps, series.values, linestyle=line, linewidth=0.9, color=series.color, zorder=4)
    drawn.set(marker=marker, markersize=3.5)


def _draw_logged(axes: Axes, series: Series, most: int) -> None:
    if window(len(series.steps)) > 1:
        some = slice(None, None, -(-len(series.steps) // most))
        axes.plot(series.steps[some], series.values[some], color=series.color, linewidth=0.7, alpha=0.3, zorder=1)
    marker = "." if len(series.steps) <= _FEW or _has_lone_values(series) else None
    means = smoothed(series.values)
    axes.plot(series.steps, means, color=series.color, linewidth=1.4, marker=marker, markersize=4, zorder=3)


def _has_lone_values(series: Series) -> bool:
    """Whether a number stands between two that are none, where a line does not show."""
    known = np.concatenate([[False], np.isfinite(series.values), [False]])
    return bool((~known[:-2] & known[1:-1] & ~known[2:]).any())


def _legend(axes: Axes, panel: Panel) -> None:
    """One entry a curve, in the order of the panel, and how many curves have no room."""
    from matplotlib.lines import Line2D

    names: dict[str, Line2D] = {}
    for series in panel.series:
        known = np.isfinite(series.values).any()
        label = _short(series.name) + ("" if known else " (no number to draw)")
        names.setdefault(series.name, Line2D([], [], color=series.color, linewidth=1.4, label=label))
    if panel.left_out:
        names[""] = Line2D([], [], linewidth=0, label=f"{panel.left_out} more in metrics.jsonl")
    axes.legend(
        handles=list(names.values()),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=7,
        handlelength=1.2,
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"...{name[3 - _LONGEST_LABEL :]}"


def save_figure(figure: Figure, path: Path) -> None:
    """Write the picture with a palette, which takes a third of the room."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    palette = _palette()
    with PIL.Image.open(drawn) as picture:
        reduced = PIL.Image.fromarray(_nearest(np.asarray(picture.convert("RGB")), palette), "P")
    reduced.putpalette(palette.ravel().tolist())
    reduced.save(path, optimize=True)


def _palette() -> Shades:
    """Shades of each colour, from white on: ``(number, 3)``."""
    colors = np.array([[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in (*COLORS, TOTAL)])
    shares = np.linspace(0, 1, _SHADES)[:, None, None]
    shades = (255 + shares * (colors - 255)).round().reshape(-1, 3)
    return np.asarray(shades, dtype=np.uint8)


def _nearest(pixels: Shades, palette: Shades) -> Shades:
    """The number of the nearest colour for each pixel: ``(height, width)``."""
    packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    there, places = np.unique(packed, return_inverse=True)
    colors = np.stack([there >> 16, there >> 8 & 255, there & 255], axis=1)
    distances = ((colors[:, None] - palette.astype(np.int32)) ** 2).sum(axis=2)
    return np.asarray(distances.argmin(axis=1)[places].reshape(pixels.shape[:2]), dtype=np.uint8)
