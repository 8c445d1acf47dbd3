"""A corruption that changes the colours of a picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_corruptions.pillow_modes import AnyMode, in_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


class ColorJitter(AnyMode):
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    The first three are multiplied by a random number between 1 - x and 1 + x, where x is the option.
    """

    brightness: float = Field(default=0.4, ge=0, description="largest change, as a share")
    contrast: float = Field(default=0.4, ge=0, description="largest change, as a share")
    saturation: float = Field(default=0.4, ge=0, description="largest change, as a share")
    hue: float = Field(default=0.1, ge=0, le=0.5, description="largest change, as a share of the colour circle")

    def change(self, image: Image, rng: random.Random) -> Image:
        return in_rgb(image, lambda picture: self._jitter(picture, rng))

    def _jitter(self, image: Image, rng: random.Random) -> Image:
        from PIL import ImageEnhance

        changes = [
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
            (None, self.hue),
        ]
        rng.shuffle(changes)
        for enhancer, amount in changes:
            if enhancer is None:
                image = _shift_hue(image, rng.uniform(-amount, amount)) if amount else image
            else:
                image = enhancer(image).enhance(rng.uniform(max(0.0, 1 - amount), 1 + amount))
        return image


def _shift_hue(image: Image, share: float) -> Image:
    """Rotate the hue by a share of the colour circle."""
    turned = [(level + round(share * 256)) % 256 for level in range(256)]
    return image.convert("HSV").point([*turned, *range(256), *range(256)]).convert("RGB")
