"""Corruptions that remove the picture or replace it by one colour."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import IMAGE_MARK, Example, SelectiveCorruption
from mdpo_corruptions.pillow_modes import AnyMode, Color, ink

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK = re.compile(rf"(?<!\\){IMAGE_MARK}[\n ]?")


class NoImage(SelectiveCorruption):
    """Remove the images and their tokens from the prompt (mDPO's diagnostic "DPO (No Image)").

    With an ``<image>`` mark it also removes one line break or one space after the mark. The marks of images that the
    option ``images`` does not select stay.
    """

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        removed, marks = set(self.selected(example, rng)), count()

        def without_removed(mark: re.Match[str]) -> str:
            return "" if next(marks) in removed else mark[0]

        return example.with_prompt(lambda text: _MARK.sub(without_removed, text)).without_images(removed)


class Blank(AnyMode):
    """Replace the picture by one colour; the number of image tokens stays."""

    color: Color = Field(default=(0, 0, 0), description="red, green and blue, 0-255")

    def change(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image

        return PIL.Image.new(image.mode, image.size, ink(self.color, image.mode))
