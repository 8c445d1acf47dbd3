"""A corruption that adds noise to parts of a picture."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import Box, Example, ExampleField
from mdpo_corruptions.noise import Diffusion
from mdpo_corruptions.pillow_modes import in_mode_of, plain

if TYPE_CHECKING:
    from PIL.Image import Image


class RegionNoise(Diffusion):
    """Add diffusion noise inside boxes only (MFPO, arXiv:2410.15334).

    In the paper, the boxes surround segments that keywords of the response name. A box includes the pixels that it
    cuts. The noise is the same as ``diffusion_noise`` adds to the whole picture. An image without boxes stays as it is.
    """

    boxes: str = Field(description="name of the boxes, as in the reader's option boxes")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"boxes": (self.boxes,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = list(example.images)
        for index in self.selected(example, rng):
            boxes = example.boxes[self.boxes][index]
            if boxes:
                images[index] = _with_noise_inside(boxes, self(images[index], rng), images[index])
        return replace(example, images=tuple(images))


def _with_noise_inside(boxes: Sequence[Box], noisy: Image, image: Image) -> Image:
    if image.mode in {"P", "PA"}:
        # The two palettes number their colours differently.
        return in_mode_of(image, _with_noise_inside(boxes, plain(noisy), plain(image)))
    changed = image.copy()
    for box in boxes:
        pixels = (math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom))
        changed.paste(noisy.crop(pixels), pixels)
    return changed
