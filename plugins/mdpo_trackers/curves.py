"""Draw the curves of a run from its metrics file, which also contains the steps before a resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_PANELS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("loss (nats a pair)", "loss/", lambda name: name == "loss" or name.startswith("loss/")),
    ("reward", "rewards/", lambda name: name.startswith("rewards/") and name.count("/") == 1),
    ("reward accuracy", "rewards/accuracy/", lambda name: name.startswith("rewards/accuracy/")),
    ("evaluation", "eval/", lambda name: name.startswith("eval/")),
)


class CurvesLog:
    """A `TrackerLog` that draws when it is closed; it reads all values from the metrics file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        file = self._folder / "metrics.jsonl"
        if file.is_file():
            lines = file.read_text().splitlines()
            draw_curves([json.loads(line) for line in lines], self._folder / "curves.png")


def draw_curves(records: list[dict[str, float]], path: Path) -> None:
    """Draw loss, rewards, accuracies and evaluations over steps; leave out what was not recorded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for record in records for name in record))
    panels = [(title, prefix, [name for name in names if belongs(name)]) for title, prefix, belongs in _PANELS]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return
    figure = Figure(figsize=(9, 2.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, prefix, shown) in zip(all_axes, panels, strict=True):
        _draw_panel(axes, title, {name.removeprefix(prefix): _series(records, name) for name in shown})
    all_axes[-1].set_xlabel("optimizer step")
    figure.savefig(path, dpi=120)


def _draw_panel(axes: Axes, title: str, series: Mapping[str, tuple[list[float], list[float]]]) -> None:
    for index, (name, (steps, values)) in enumerate(series.items()):
        few = len(steps) <= 12
        color = _COLORS[index % len(_COLORS)]
        style = "--" if index >= len(_COLORS) else "-"
        axes.plot(steps, values, style, color=color, label=name, linewidth=1.5, marker="o" if few else None)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)


def _series(records: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    points = [(record["step"], record[name]) for record in records if name in record]
    return [step for step, _ in points], [value for _, value in points]
