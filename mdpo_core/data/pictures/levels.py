"""Grey pictures with more than 8 bits a pixel, brought to 8 by a stated rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdpo_core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

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
    from PIL.Image import frombytes

    levels = _levels(image)
    shares = _of_floats(levels) if image.mode == "F" else _of_whole_numbers(levels, image)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    grey = frombytes("L", image.size, _as_bytes(shares * 255))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(frombytes("L", image.size, _as_bytes((levels != key) * 255.0)))
    return grey


def _levels(image: Image) -> Tensor:
    """The levels ``(pixels,)`` as float64."""
    import torch

    plain = image if image.mode == "F" else image.convert("I")
    stored = torch.float32 if plain.mode == "F" else torch.int32
    return torch.frombuffer(bytearray(plain.tobytes()), dtype=stored).double()


def _as_bytes(levels: Tensor) -> bytes:
    import torch

    return levels.round().to(torch.uint8).numpy().tobytes()


def _of_whole_numbers(levels: Tensor, image: Image) -> Tensor:
    """Levels of 16 bits as shares of white."""
    if image.mode == "I" and image.format not in _OF_16_BITS:
        raise DataError(
            "its pixels are whole numbers of 32 bits, or with a sign, and nothing says which are black and white; save "
            "it with 8 or 16 bits"
        )
    return levels / (_STEP * 255)


def _of_floats(levels: Tensor) -> Tensor:
    """Floats as shares of white."""
    if not levels.isfinite().all():
        raise DataError("some of its pixels are no finite number; save it with 8 or 16 bits")
    least, most = float(levels.min()), float(levels.max())
    if least < 0 or most > 1:
        found = f"its pixels are floats from {least:g} to {most:g}"
        raise DataError(f"{found}, and must lie from 0 (black) to 1 (white); scale them, or save it with 8 bits")
    return levels
