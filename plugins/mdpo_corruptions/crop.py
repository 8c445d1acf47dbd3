"""A corruption that crops a part of the picture and enlarges it to the picture's size."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from mdpo_corruptions.pillow_modes import AnyMode

if TYPE_CHECKING:
    from PIL.Image import Image

Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(ge=0.01, le=100)]

_TRIES = 10


class RandomCrop(AnyMode):
    """Keep a random part of the picture, resized to the picture's size (mDPO's rejected image, arXiv:2406.11839).

    The released code crops the preprocessed tensor again in every forward. This crops the picture as read, once.
    """

    works_on_floats: ClassVar[bool] = True
    area: tuple[Share, Share] = Field(default=(0.01, 0.2), description="share of the area to keep: smallest, largest")
    aspect: tuple[Ratio, Ratio] = Field(default=(3 / 4, 4 / 3), description="width over height of the crop")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("area", "aspect"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} must be [smallest, largest], found [{least}, {most}]")
        return self

    def change(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import Resampling

        box = random_box(image.size, self.area, self.aspect, rng)
        return image.crop(box).resize(image.size, Resampling.BICUBIC)


def random_box(
    size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], rng: random.Random
) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) of random area, aspect ratio (uniform in its logarithm) and position.

    In a very narrow picture, ten random boxes may all be too large. Then the box has the wanted area and, as closely
    as whole pixels allow, the aspect ratio of the picture. torchvision's RandomResizedCrop would keep a larger area.
    """
    width, height = size
    for _ in range(_TRIES):
        kept = rng.uniform(*area) * width * height
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(kept * ratio)), round(math.sqrt(kept / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _random_position(w, h, size, rng)
    return _random_position(*_similar_box(width, height, rng.uniform(*area)), size, rng)


def _similar_box(width: int, height: int, share: float) -> tuple[int, int]:
    """Width and height of a box with a share of a picture's area and with the picture's aspect ratio."""
    short, long = sorted((width, height))
    # The short side first: it has at least one pixel, and the long side compensates for that.
    w = max(1, round(short * math.sqrt(share)))
    h = max(1, min(long, round(share * short * long / w)))
    return (w, h) if width <= height else (h, w)


def _random_position(w: int, h: int, size: tuple[int, int], rng: random.Random) -> tuple[int, int, int, int]:
    left, top = rng.randint(0, size[0] - w), rng.randint(0, size[1] - h)
    return left, top, left + w, top + h
