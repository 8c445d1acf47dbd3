"""Corruptions that rotate or mirror a picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ImageCorruption
from mdpo_corruptions.pillow_modes import AnyMode, ink

if TYPE_CHECKING:
    from PIL.Image import Image


class Rotate(AnyMode):
    """Rotate the picture about its centre; the corners that become empty are black."""

    works_on_floats: ClassVar[bool] = True
    degrees: tuple[float, float] = Field(default=(45, 315), description="angle, counterclockwise: smallest, largest")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.degrees[0] > self.degrees[1]:
            raise ValueError(f"degrees must be [smallest, largest], found {list(self.degrees)}")
        return self

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import Resampling

        return image.rotate(rng.uniform(*self.degrees), Resampling.BILINEAR, fillcolor=ink((0, 0, 0), image.mode))


class Flip(ImageCorruption):
    """Mirror the picture."""

    axis: Literal["horizontal", "vertical", "both"] = Field(
        default="horizontal", description="horizontal: swap left and right; vertical: swap top and bottom"
    )

    def __call__(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import Transpose

        turns = {
            "horizontal": Transpose.FLIP_LEFT_RIGHT,
            "vertical": Transpose.FLIP_TOP_BOTTOM,
            "both": Transpose.ROTATE_180,
        }
        return image.transpose(turns[self.axis])
