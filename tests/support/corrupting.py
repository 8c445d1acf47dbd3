"""What tests of corruptions share: making one, applying it, looking at pixels."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from sklearn.datasets import load_sample_images

from mdpo_core import ImageCorruption, component
from mdpo_core.registry.discovery import current_registry


def corrupted(image: Image, name: str, seed: int | str = 0, **options: Any) -> Image:
    made = component("corruption", name, **options)
    assert isinstance(made, ImageCorruption)
    return made(image, random.Random(seed))


def image_corruptions() -> list[str]:
    """Those that need nothing besides a picture."""
    found = current_registry().components("corruption")
    return sorted(name for name, cls in found.items() if issubclass(cls, ImageCorruption) and "region" not in name)


def pixels(image: Image) -> NDArray[np.int64]:
    """``(height, width)`` or ``(height, width, channels)``."""
    return np.asarray(image).astype(np.int64)


def photograph(width: int = 320, height: int = 213) -> Image:
    """The temple that scikit-learn ships."""
    import PIL.Image

    return PIL.Image.fromarray(load_sample_images().images[0]).resize((width, height))


def in_mode(mode: str) -> Image:
    picture = photograph(96, 64)
    if mode.startswith("I") or mode == "F":
        # 16 bits of them, from black to white.
        levels = picture.convert("L").convert("I").point(lambda level: level * 257 + 0)
        levels.putpixel((0, 0), 0)
        levels.putpixel((1, 0), 65535)
        return levels.convert(mode)
    return picture.convert("RGBA").convert(mode)


def seen(image: Image) -> Image:
    """The picture as RGB shows it."""
    if image.mode.startswith("I") or image.mode == "F":
        return image.convert("F").point(lambda level: level * (1 / 257) + 0.5).convert("L").convert("RGB")
    return image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGB")
