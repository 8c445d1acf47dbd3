"""A figure that every notebook shows, also one that has never heard of matplotlib."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure without a window, which a notebook shows as a picture."""

    def _repr_png_(self) -> bytes:
        FigureCanvasAgg(self)
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=100)
        return drawn.getvalue()
