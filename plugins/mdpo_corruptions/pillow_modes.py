"""A base class that applies corruptions for a few of Pillow's modes to pictures of any mode."""

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
    """A corruption that changes pictures in L, LA, RGB, RGBA and CMYK; other modes are converted and converted back.

    A picture with a palette gets a new palette. Levels of more than 8 bits are rounded to 8 bits in between, unless the
    corruption works on floats. The modes I and F have no fixed range: theirs is from the picture's lowest level to its
    highest.
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
        # Conversion to L cuts off the fraction, so 0.5 is added to round.
        changed = self.change(levels.point(lambda level: level * (1 / step) + (0.5 - least / step)).convert("L"), rng)
        return _from_floats(changed.convert("F").point(lambda level: level * step + least), image.mode)


def _extrema(levels: Image) -> tuple[float, float]:
    least, most = levels.getextrema()
    assert isinstance(least, float)
    assert isinstance(most, float)
    return least, most


def plain(image: Image) -> Image:
    """The picture in a mode that `AnyMode.change` accepts; levels are reduced to 8 bits."""
    if image.mode in _PLAIN:
        return image
    if image.mode == "P":
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert(_NEAREST.get(image.mode, "RGB"))


def in_mode_of(image: Image, changed: Image) -> Image:
    """``changed``, a changed ``plain(image)``, converted back to the mode of ``image``."""
    if image.mode == changed.mode:
        return changed
    if image.mode == "P":
        from PIL.Image import Quantize

        return changed.quantize(method=Quantize.FASTOCTREE)  # the only method that keeps transparency
    return changed.convert(image.mode)


def _from_floats(levels: Image, mode: str) -> Image:
    if mode == "F":
        return levels
    integers = levels.point(lambda level: level * 1 + 0.5).convert("I")
    return integers if mode == "I" else integers.convert(mode)


def in_rgb(image: Image, change: Callable[[Image], Image]) -> Image:
    """The picture with its colours changed in RGB; its transparency stays."""
    changed = change(image.convert("RGB")).convert(image.mode.removesuffix("A"))
    if image.mode.endswith("A"):
        changed.putalpha(image.getchannel("A"))
    return changed


def ink(color: Color, mode: str) -> float | tuple[int, ...]:
    """The pixel value of an opaque colour in a mode."""
    import PIL.Image

    pixel = PIL.Image.new("RGB", (1, 1), color).convert(mode).getpixel((0, 0))
    assert pixel is not None
    return pixel
