"""Draws the curves that ``--json`` has kept: ``python -m benchmarks.speed.picture RESULTS.json PICTURE.png``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.speed.curves import CONTESTANTS, TITLES

COLOURS = dict(zip(CONTESTANTS, ("tab:gray", "tab:blue"), strict=True))
NAMES = dict(zip(CONTESTANTS, ("the paper's algorithm", "ours"), strict=True))
PANELS = [
    [("seconds", "response_tokens"), ("seconds", "num_pairs"), ("seconds", "num_terms")],
    [("peak_gb", "response_tokens"), ("peak_gb", "num_pairs"), ("peak_gb", "vocab_size")],
]
LABELS = {"seconds": "seconds a step", "peak_gb": "peak memory, GB"}
Points = Sequence[Mapping[str, Any]]


def draw(points: Points, file: Path) -> None:
    figure, rows = pyplot.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
    for axes, (quantity, axis) in zip(rows.flat, (panel for row in PANELS for panel in row), strict=True):
        _panel(axes, [point for point in points if point["axis"] == axis], quantity, TITLES[axis])
        if axis == "vocab_size":
            _weights(axes, points)
    rows.flat[0].legend(frameon=False)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _panel(axes: Axes, points: Points, quantity: str, title: str) -> None:
    for contestant in CONTESTANTS:
        drawn = [point for point in points if point["contestant"] == contestant and point[quantity] is not None]
        axes.plot(
            [point["value"] for point in drawn],
            [point[quantity] for point in drawn],
            "o-",
            color=COLOURS[contestant],
            label=NAMES[contestant],
        )
    axes.set(xlabel=title, ylabel=LABELS[quantity])
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right"]].set_visible(False)


def _weights(axes: Axes, points: Points) -> None:
    """The line that memory should run along: what the weights of head and embeddings take, from where ours begins."""
    ours = [point for point in points if point["axis"] == "vocab_size" and point["contestant"] == CONTESTANTS[1]]
    if not ours or ours[0]["peak_gb"] is None:
        return
    start = ours[0]["peak_gb"] - ours[0]["weights_gb"]
    axes.plot(
        [point["value"] for point in ours],
        [start + point["weights_gb"] for point in ours],
        "--",
        color="black",
        label="growth of head and embeddings",
    )
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["curves"], Path(sys.argv[2]))
