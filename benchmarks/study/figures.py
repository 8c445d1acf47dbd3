"""A figure for each world: every variant, with its error bar, beside the paper's number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.study.numbers import WorldNumbers
from benchmarks.study.paper import PAPER
from benchmarks.study.variants import BASE, TABLES, title_of
from benchmarks.study.words import TABLE_TITLES
from mdpo_core.reporting.intervals import mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOR, _PALE, _PAPER = "#2f4b9b", "#9fb0de", "#c2571a"
_ROW = 0.36  # inches
_WRAP = 18  # letters of a variant's name on a line


def draw(world: WorldNumbers, file: Path) -> None:
    """Draw the first measure of all variants, a panel for each table; at the right what the paper reports."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {table: [BASE, *variants] for table, variants in TABLES.items()}
    heights = [len(variants) + 0.6 for variants in rows.values()]
    figure = Figure(figsize=(5.0, _ROW * sum(heights) + 1.8), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 2, sharex="col", squeeze=False, height_ratios=heights, width_ratios=(3, 2))
    for (table, variants), (here, there) in zip(rows.items(), panels, strict=True):
        here.set_title(TABLE_TITLES[table][0], loc="left", fontsize=11, fontweight="bold")
        _draw_here(here, variants, world)
        _draw_paper(there, variants)
    panels[-1][0].set_xlabel(f"{world.title.lower()}:\n{world.measures[0].title}", fontsize=10)
    panels[-1][1].set_xlabel("the paper:\nCHAIRs, %", fontsize=10)
    figure.savefig(file, metadata={"Software": None})


def _draw_here(axes: Axes, variants: Sequence[str], world: WorldNumbers) -> None:
    for place, variant in enumerate(variants):
        values = list(world.values(variant, "first").values())
        if variant == BASE and world.measures[0].name in world.base:
            axes.axvline(world.base[world.measures[0].name], color="#888888", linewidth=1, linestyle=":")
            values = values[:1]
        if values:
            mean = mean_of(values)
            reach = 0.0 if mean.interval is None else mean.interval[1] - mean.value
            axes.plot(values, [place] * len(values), "o", color=_PALE, markersize=4)
            axes.errorbar(mean.value, place, xerr=reach, fmt="D", color=_COLOR, markersize=4.5, capsize=3)
    axes.set_yticks(range(len(variants)), [_wrapped(title_of(each)) for each in variants], fontsize=10)
    _finish(axes, len(variants))


def _draw_paper(axes: Axes, variants: Sequence[str]) -> None:
    axes.axvline(PAPER[BASE].chair_s, color="#888888", linewidth=1, linestyle=":")
    for place, variant in enumerate(variants):
        if variant in PAPER:
            axes.plot(PAPER[variant].chair_s, place, "s", color=_PAPER, markersize=5)
    axes.set_yticks([])
    _finish(axes, len(variants))


def _finish(axes: Axes, num_rows: int) -> None:
    axes.set_ylim(num_rows - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=9, labelbottom=True)
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, _WRAP))
