"""Corruptions that take the picture away."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mdpo_core import IMAGE_MARK, Corruption, Example, ImageCorruption

if TYPE_CHECKING:
    from PIL.Image import Image

Intensity = Annotated[int, Field(ge=0, le=255)]


class NoImage(Corruption):
    """The prompt without its images: the image tokens are absent (mDPO's diagnostic "DPO (No Image)").

    An ``<image>`` mark goes together with one line break, or else one space, that follows it.
    """

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(example.with_prompt(_without_marks), images=())


def _without_marks(text: str) -> str:
    for mark in (f"{IMAGE_MARK}\n", f"{IMAGE_MARK} ", IMAGE_MARK):
        text = text.replace(mark, "")
    return text


class Blank(ImageCorruption):
    """A picture of one colour; its image tokens are all there."""

    color: tuple[Intensity, Intensity, Intensity] = Field(default=(0, 0, 0), description="red, green and blue, 0-255")

    def __call__(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image

        return PIL.Image.new("RGB", image.size, self.color)
