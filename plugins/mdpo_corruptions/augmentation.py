"""Augmentations of contrastive learning, which keep most of the picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mdpo_core import ImageCorruption
from mdpo_corruptions.crop import random_box

if TYPE_CHECKING:
    from PIL.Image import Image


class MocoV2(ImageCorruption):
    """The augmentation of MoCo v2 (arXiv:2003.04297), resized to the picture's own size.

    Crop of 20-100 % of the area; with probability 0.8 jitter of brightness, contrast and saturation by up to 40 % and
    of hue by up to a tenth of the circle, in random order; grey 0.2; Gaussian blur of 0.1-2 pixels at 224 pixels
    width 0.5; mirror 0.5.
    """

    def __call__(self, image: Image, rng: random.Random) -> Image:
        import PIL.Image
        from PIL import ImageFilter, ImageOps

        box = random_box(image.size, (0.2, 1.0), (3 / 4, 4 / 3), rng)
        image = image.crop(box).resize(image.size, PIL.Image.Resampling.BICUBIC)
        if rng.random() < 0.8:
            image = _jitter(image, rng)
        if rng.random() < 0.2:
            image = ImageOps.grayscale(image).convert("RGB")
        if rng.random() < 0.5:
            # The published radius is for crops of 224 pixels; on a larger picture it grows with it.
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0) * max(image.size) / 224))
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        return image


def _jitter(image: Image, rng: random.Random) -> Image:
    from PIL import ImageEnhance

    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
    rng.shuffle(enhancers)
    for enhancer in enhancers:
        if enhancer is None:
            image = _shift_hue(image, rng.uniform(-0.1, 0.1))
        else:
            image = enhancer(image).enhance(rng.uniform(0.6, 1.4))
    return image


def _shift_hue(image: Image, share: float) -> Image:
    """Turn the hue by a share of the circle."""
    import PIL.Image

    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + round(share * 256)) % 256 for level in range(256)])
    return PIL.Image.merge("HSV", (turned, saturation, value)).convert("RGB")
