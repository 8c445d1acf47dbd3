"""Noise in parts of a picture."""

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
    """Diffusion noise within boxes, the rest of the picture being as it was (MFPO, arXiv:2410.15334).

    There the boxes are those of segments that keywords of the response name. A pixel that a box cuts is within it; the
    noise is that of ``diffusion_noise`` over the whole picture. An image without boxes stays as it is.
    """

    boxes: str = Field(description="the name of the boxes, as the reader's option boxes gives them")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"boxes": (self.boxes,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = list(example.images)
        for number in self.selected(example, rng):
            boxes = example.boxes[self.boxes][number]
            if boxes:
                images[number] = _within(boxes, self(images[number], rng), images[number])
        return replace(example, images=tuple(images))


def _within(boxes: Sequence[Box], noisy: Image, image: Image) -> Image:
    if image.mode in {"P", "PA"}:
        # The two palettes number their colours differently.
        return in_mode_of(image, _within(boxes, plain(noisy), plain(image)))
    changed = image.copy()
    for box in boxes:
        whole = (math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom))
        changed.paste(noisy.crop(whole), whole)
    return changed
