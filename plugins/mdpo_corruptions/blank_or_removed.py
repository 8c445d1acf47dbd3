"""Corruptions that take the picture away."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import IMAGE_MARK, Example, SelectiveCorruption
from mdpo_corruptions.pillow_modes import AnyMode, Color, ink

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK = re.compile(rf"{IMAGE_MARK}[\n ]?")


class NoImage(SelectiveCorruption):
    """The prompt without its images: the image tokens are absent (mDPO's diagnostic "DPO (No Image)").

    An ``<image>`` mark goes together with one line break, or else one space, that follows it. The marks of images that
    ``images`` leaves alone stay.
    """

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        gone, marks = set(self.selected(example, rng)), count()

        def without(mark: re.Match[str]) -> str:
            return "" if next(marks) in gone else mark[0]

        kept = tuple(image for number, image in enumerate(example.images) if number not in gone)
        return replace(example.with_prompt(lambda text: _MARK.sub(without, text)), images=kept)


class Blank(AnyMode):
    """A picture of one colour; its image tokens are all there."""

    color: Color = Field(default=(0, 0, 0), description="red, green and blue, 0-255")

    def change(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image

        return PIL.Image.new(image.mode, image.size, ink(self.color, image.mode))
