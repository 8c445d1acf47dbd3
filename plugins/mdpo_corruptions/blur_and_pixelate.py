"""Pictures without their details."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_corruptions.pillow_modes import AnyMode

if TYPE_CHECKING:
    from PIL.Image import Image


class Blur(AnyMode):
    """The picture out of focus: a Gaussian blur."""

    radius: float = Field(default=0.02, gt=0, le=1, description="standard deviation, as a share of the longer side")

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(self.radius * max(image.size)))


class Pixelate(AnyMode):
    """The picture in squares of one colour each, the mean of what they cover."""

    works_on_floats: ClassVar[bool] = True
    squares: int = Field(default=16, gt=0, description="squares along the longer side")

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import Resampling

        return image.resize(grid(image.size, self.squares), Resampling.BOX).resize(image.size, Resampling.NEAREST)


def grid(size: tuple[int, int], squares: int) -> tuple[int, int]:
    """Columns and rows of nearly square parts: ``squares`` of them on the longer side, none smaller than a pixel."""
    columns, rows = (min(side, max(1, round(side * squares / max(size)))) for side in size)
    return columns, rows
