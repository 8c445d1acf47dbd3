"""The picture of concepts.md: views as a grid of responses and conditions. ``python scripts/docs/grid.py``."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mdpo_digits.mosaics import caption, draw_mosaic, with_mistakes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "views.png"
_LEFT, _WIDTH, _HEIGHT = 2.3, 3.5, 1.5
_TEXT, _PICTURE_TERM, _ANCHOR = "#0072B2", "#D55E00", "#009E73"


def draw(path: Path = PICTURE) -> None:
    """Draw the grid of mDPO for one mosaic of digits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 9.6)
    axes.set_ylim(0, 4.4)
    axes.set_axis_off()
    _draw_rows(axes)
    _draw_cells(axes)
    _draw_terms(axes)
    figure.savefig(path, dpi=110)


def _draw_rows(axes: Axes) -> None:
    mosaic = draw_mosaic(random.Random(0), "train").image
    crop = mosaic.crop((0, 0, 12, 12))
    for picture, bottom, name, told in (
        (mosaic, 2.1, "clean", "the picture\nas it was read"),
        (crop, 0.4, "crop", "a corruption:\na small part is kept"),
    ):
        _show(axes, picture, bottom)
        axes.text(0.15, bottom + 0.95, name, fontsize=13, weight="bold", va="bottom")
        axes.text(0.15, bottom + 0.85, told, fontsize=8, va="top", color="#444444")


def _show(axes: Axes, picture: Image, bottom: float) -> None:
    place = axes.inset_axes((1.3, bottom + 0.2, 0.95, 0.95), transform=axes.transData)
    place.imshow(np.asarray(picture))
    place.set_axis_off()


def _draw_cells(axes: Axes) -> None:
    digits = draw_mosaic(random.Random(0), "train").digits
    texts = (caption(digits, 0), caption(with_mistakes(digits, 1, random.Random(1)), 0))
    for column, (response, text) in enumerate(zip(("chosen", "rejected"), texts, strict=True)):
        left = _LEFT + column * _WIDTH + 0.2
        axes.text(left + 1.45, 4.0, response, fontsize=13, weight="bold", ha="center")
        axes.text(left + 1.45, 3.75, f"\u201c{text}\u201d", fontsize=7.5, ha="center", color="#444444")
        _draw_cell(axes, left, 2.3, response, read=True)
        _draw_cell(axes, left, 0.6, f"{response}@crop", read=response == "chosen")


def _draw_cell(axes: Axes, left: float, bottom: float, view: str, read: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    ground, edge, ink = ("#F2F2F2", "#555555", "black") if read else ("white", "#BBBBBB", "#999999")
    box = FancyBboxPatch((left, bottom), 2.9, 0.95, boxstyle="round,pad=0.02", linewidth=1.2, fc=ground, ec=edge)
    axes.add_patch(box)
    axes.text(left + 1.45, bottom + 0.55, view, ha="center", fontsize=12, family="monospace", color=ink)
    if not read:
        axes.text(left + 1.45, bottom + 0.2, "no term reads it: not computed", ha="center", fontsize=7.5, color=ink)


def _draw_terms(axes: Axes) -> None:
    arrow = {"arrowstyle": "-|>", "lw": 2.2, "mutation_scale": 16}
    axes.annotate("", (5.4, 2.95), (6.0, 2.95), arrowprops={**arrow, "color": _TEXT})
    axes.text(5.7, 3.42, "text: DPO", color=_TEXT, fontsize=9.5, ha="center", weight="bold")
    axes.annotate("", (3.4, 2.27), (3.4, 1.58), arrowprops={**arrow, "color": _PICTURE_TERM})
    axes.text(3.6, 1.92, "picture: conditional DPO", color=_PICTURE_TERM, fontsize=9.5, va="center", weight="bold")
    axes.text(3.95, 2.45, "anchor: its reward stays above 0", color=_ANCHOR, fontsize=8, ha="center", weight="bold")
    axes.text(9.45, 0.12, "an arrow leads from the worse to the better view", fontsize=7.5, ha="right", color="#444444")


if __name__ == "__main__":
    draw()
