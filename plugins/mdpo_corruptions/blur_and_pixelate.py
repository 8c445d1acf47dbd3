"""Corruptions that remove the details of a picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_corruptions.pillow_modes import AnyMode

if TYPE_CHECKING:
    from PIL.Image import Image


class Blur(AnyMode):
    """Blur the picture with a Gaussian filter."""

    radius: float = Field(default=0.02, gt=0, le=1, description="standard deviation, as a share of the longer side")

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(self.radius * max(image.size)))


class Pixelate(AnyMode):
    """Divide the picture into squares, and give each square its mean colour."""

    works_on_floats: ClassVar[bool] = True
    squares: int = Field(default=16, gt=0, description="squares along the longer side")

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import Resampling

        return image.resize(grid(image.size, self.squares), Resampling.BOX).resize(image.size, Resampling.NEAREST)


def grid(size: tuple[int, int], squares: int) -> tuple[int, int]:
    """Numbers of columns and rows: ``squares`` nearly square parts along the longer side, none below one pixel."""
    columns, rows = (min(side, max(1, round(side * squares / max(size)))) for side in size)
    return columns, rows
