"""The augmentation of contrastive learning, which keeps most of the picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mdpo_corruptions.color import ColorJitter
from mdpo_corruptions.crop import random_box
from mdpo_corruptions.pillow_modes import AnyMode, in_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


_JITTER = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


class MocoV2(AnyMode):
    """Augment the picture as MoCo v2 does (arXiv:2003.04297); its size stays.

    The steps: crop 20-100 % of the area; with probability 0.8, change brightness, contrast and saturation by up to
    40 % and hue by up to a tenth of the colour circle, in random order; with probability 0.2, convert to grey; with
    probability 0.5, a Gaussian blur of 0.1-2 pixels (for a width of 224 pixels); with probability 0.5, mirror.
    """

    def change(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image
        from PIL import ImageFilter, ImageOps

        box = random_box(image.size, (0.2, 1.0), (3 / 4, 4 / 3), rng)
        image = image.crop(box).resize(image.size, PIL.Image.Resampling.BICUBIC)
        if rng.random() < 0.8:
            image = _JITTER.change(image, rng)
        if rng.random() < 0.2:
            image = in_rgb(image, ImageOps.grayscale)
        if rng.random() < 0.5:
            # The published radius is for crops of 224 pixels; it grows with the picture.
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0) * max(image.size) / 224))
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        return image
