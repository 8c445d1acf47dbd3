"""Grey pictures with more than 8 bits a pixel, brought to 8 by a stated rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdpo_core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_STEP = 257  # 65535 / 255
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# Pillow gives the 16 bits of these formats as whole numbers of 32 bits.
_OF_16_BITS = ("PNG", "PPM")


def is_deep(image: Image) -> bool:
    """Whether a picture has more than 8 bits in its only channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def in_8_bits(image: Image) -> Image:
    """A deep picture in mode L, or LA if one of its levels is transparent.

    A level of 16 bits is divided by 257 and rounded, so black stays black, and white white. A float is black at 0 and
    white at 1. Raises `DataError` for floats beyond that, and for whole numbers of 32 bits, whose black and white
    nothing states.
    """
    import numpy as np
    from PIL.Image import fromarray

    levels = np.asarray(image)
    shares = _of_floats(levels) if image.mode == "F" else _of_whole_numbers(levels, image)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    grey = fromarray(np.rint(shares * 255).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(fromarray(np.where(levels == key, 0, 255).astype(np.uint8)))
    return grey


def _of_whole_numbers(levels: np.ndarray[Any, Any], image: Image) -> np.ndarray[Any, Any]:
    """Levels of 16 bits as shares of white."""
    import numpy as np

    if image.mode == "I" and image.format not in _OF_16_BITS:
        raise DataError(
            "its pixels are whole numbers of 32 bits, or with a sign, and nothing says which are black and white; save "
            "it with 8 or 16 bits"
        )
    return levels.astype(np.float64) / (_STEP * 255)


def _of_floats(levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Floats as shares of white."""
    import numpy as np

    if not np.isfinite(levels).all():
        raise DataError("some of its pixels are no finite number; save it with 8 or 16 bits")
    least, most = levels.min(), levels.max()
    if least < 0 or most > 1:
        found = f"its pixels are floats from {least:g} to {most:g}"
        raise DataError(f"{found}, and must lie from 0 (black) to 1 (white); scale them, or save it with 8 bits")
    return levels.astype(np.float64)
