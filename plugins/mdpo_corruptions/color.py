"""Pictures in other colours."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_corruptions.pillow_modes import AnyMode, in_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


class ColorJitter(AnyMode):
    """Brightness, contrast, saturation and hue changed by random amounts, in random order.

    Each of the first three is multiplied by a number between 1 - x and 1 + x.
    """

    brightness: float = Field(default=0.4, ge=0, description="by up to this share")
    contrast: float = Field(default=0.4, ge=0, description="by up to this share")
    saturation: float = Field(default=0.4, ge=0, description="by up to this share")
    hue: float = Field(default=0.1, ge=0, le=0.5, description="by up to this share of the circle of colours")

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
    """Turn the hue by a share of the circle."""
    turned = [(level + round(share * 256)) % 256 for level in range(256)]
    return image.convert("HSV").point([*turned, *range(256), *range(256)]).convert("RGB")
