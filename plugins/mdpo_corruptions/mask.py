"""A corruption that hides parts of a picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_corruptions.blur_and_pixelate import grid
from mdpo_corruptions.crop import Share, random_box
from mdpo_corruptions.pillow_modes import AnyMode, Color, ink

if TYPE_CHECKING:
    from PIL.Image import Image


class PatchMask(AnyMode):
    """Hide a share of the picture under one colour: scattered patches, or one block (OPA-DPO, arXiv:2501.09695)."""

    share: Share = Field(default=0.3, description="share of the picture that is hidden")
    shape: Literal["random", "block"] = Field(
        default="random", description="random: patches at random positions; block: one box at a random position"
    )
    patches: int = Field(default=24, gt=0, description="square patches along the longer side")
    color: Color = Field(
        default=(122, 116, 104), description="red, green and blue, 0-255; default: CLIP's mean, which becomes zeros"
    )

    def change(self, image: Image, rng: random.Random) -> Image:
        hidden = image.copy()
        color = ink(self.color, image.mode)
        if self.shape == "block":
            hidden.paste(color, random_box(image.size, (self.share, self.share), (3 / 4, 4 / 3), rng))
        else:
            hidden.paste(color, mask=self._patches(image.size, rng))
        return hidden

    def _patches(self, size: tuple[int, int], rng: random.Random) -> Image:
        import PIL.Image

        columns, rows = grid(size, self.patches)
        cells = bytearray(columns * rows)
        for cell in rng.sample(range(len(cells)), round(self.share * len(cells))):
            cells[cell] = 255
        hidden = PIL.Image.frombytes("L", (columns, rows), bytes(cells))
        return hidden.resize(size, PIL.Image.Resampling.NEAREST)
