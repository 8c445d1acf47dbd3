"""Corruptions that change parts of a picture: the insides of a row's boxes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import Box, Example, ExampleField
from mdpo_corruptions.noise import Diffusion
from mdpo_corruptions.pillow_modes import AnyMode, Color, in_mode_of, ink, plain

if TYPE_CHECKING:
    from PIL.Image import Image


class InsideBoxes(AnyMode):
    """A corruption of pictures that is used inside boxes only. An image without boxes stays as it is.

    A box includes the pixels that it cuts.
    """

    boxes: str = Field(description="name of the boxes, as in the reader's option boxes")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"boxes": (self.boxes,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = list(example.images)
        for index in self.selected(example, rng):
            boxes = example.boxes[self.boxes][index]
            if boxes:
                images[index] = _changed_inside(boxes, self(images[index], rng), images[index])
        return replace(example, images=tuple(images))


class RegionNoise(InsideBoxes, Diffusion):
    """Add diffusion noise inside boxes only (MFPO, arXiv:2410.15334).

    In the paper, the boxes surround segments that keywords of the response name. The noise is the same as
    ``diffusion_noise`` adds to the whole picture.
    """


class RegionMask(InsideBoxes):
    """Hide the insides of boxes under one colour, wholly or in part (LPOI, arXiv:2505.21061).

    With growing ``visible``, a list of such pictures shows an object more and more.
    """

    visible: float = Field(default=0.0, ge=0, le=1, description="share of the picture's levels that is kept in boxes")
    color: Color = Field(
        default=(122, 116, 104), description="red, green and blue, 0-255; default: CLIP's mean, which becomes zeros"
    )

    def change(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image

        hidden = PIL.Image.new(image.mode, image.size, ink(self.color, image.mode))
        return PIL.Image.blend(hidden, image, self.visible)


def _changed_inside(boxes: Sequence[Box], changed: Image, image: Image) -> Image:
    if image.mode in {"P", "PA"}:
        # The two palettes number their colours differently.
        return in_mode_of(image, _changed_inside(boxes, plain(changed), plain(image)))
    together = image.copy()
    for box in boxes:
        pixels = (math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom))
        together.paste(changed.crop(pixels), pixels)
    return together
