"""Corruptions written for a few of Pillow's modes, applied to pictures of any mode."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mdpo_core import ImageCorruption

if TYPE_CHECKING:
    from PIL.Image import Image

Intensity = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Intensity, Intensity, Intensity]

_PLAIN = {"L", "LA", "RGB", "RGBA", "CMYK"}
_NEAREST = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


class AnyMode(ImageCorruption):
    """A corruption that is written for pictures in L, LA, RGB, RGBA and CMYK, and keeps every other mode as well.

    A palette is made anew. Levels of more than 8 bits are rounded to 8 on the way, unless the corruption works on
    floats; those of I and F, which have no range of their own, from the picture's darkest to its lightest.
    """

    works_on_floats: ClassVar[bool] = False

    def __call__(self, image: Image, rng: random.Random) -> Image:
        if image.mode == "F" or image.mode.startswith("I"):
            return self._of_deep_levels(image, rng)
        return in_mode_of(image, self.change(plain(image), rng))

    @abstractmethod
    def change(self, image: Image, rng: random.Random) -> Image:
        """A corrupted copy of the same size and mode: L, LA, RGB, RGBA, CMYK, or F if the class works on floats."""

    def _of_deep_levels(self, image: Image, rng: random.Random) -> Image:
        levels = image.convert("F")
        if self.works_on_floats:
            return _from_floats(self.change(levels, rng), image.mode)
        least, most = (0, 65535) if image.mode.startswith("I;16") else _extrema(levels)
        step = (most - least) / 255 or 1.0
        # Conversion to L cuts off the fraction.
        changed = self.change(levels.point(lambda level: level * (1 / step) + (0.5 - least / step)).convert("L"), rng)
        return _from_floats(changed.convert("F").point(lambda level: level * step + least), image.mode)


def _extrema(levels: Image) -> tuple[float, float]:
    least, most = levels.getextrema()
    assert isinstance(least, float)
    assert isinstance(most, float)
    return least, most


def plain(image: Image) -> Image:
    """In one of the modes that corruptions are written for; levels of more than 8 bits are lost."""
    if image.mode in _PLAIN:
        return image
    if image.mode == "P":
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert(_NEAREST.get(image.mode, "RGB"))


def in_mode_of(image: Image, changed: Image) -> Image:
    """``changed``, which came from ``plain(image)``, converted back to the mode of ``image``."""
    if image.mode == changed.mode:
        return changed
    if image.mode == "P":
        from PIL.Image import Quantize

        return changed.quantize(method=Quantize.FASTOCTREE)  # the one method that knows transparency
    return changed.convert(image.mode)


def _from_floats(levels: Image, mode: str) -> Image:
    if mode == "F":
        return levels
    whole = levels.point(lambda level: level * 1 + 0.5).convert("I")
    return whole if mode == "I" else whole.convert(mode)


def in_rgb(image: Image, change: Callable[[Image], Image]) -> Image:
    """The picture with its colours changed in RGB, and its transparency as it was."""
    changed = change(image.convert("RGB")).convert(image.mode.removesuffix("A"))
    if image.mode.endswith("A"):
        changed.putalpha(image.getchannel("A"))
    return changed


def ink(color: Color, mode: str) -> float | tuple[int, ...]:
    """An opaque colour as the pixel value of a mode."""
    import PIL.Image

    pixel = PIL.Image.new("RGB", (1, 1), color).convert(mode).getpixel((0, 0))
    assert pixel is not None
    return pixel
