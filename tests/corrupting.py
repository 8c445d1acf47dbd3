"""What tests of corruptions share: making one, applying it, looking at pixels."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from sklearn.datasets import load_sample_images

from mdpo_core import ImageCorruption, component


def corrupted(image: Image, name: str, seed: int | str = 0, **options: Any) -> Image:
    made = component("corruption", name, **options)
    assert isinstance(made, ImageCorruption)
    return made(image, random.Random(seed))


def pixels(image: Image) -> NDArray[np.int64]:
    """``(height, width)`` or ``(height, width, channels)``."""
    return np.asarray(image).astype(np.int64)


def photograph(width: int = 320, height: int = 213) -> Image:
    """The temple that scikit-learn ships."""
    import PIL.Image

    return PIL.Image.fromarray(load_sample_images().images[0]).resize((width, height))
