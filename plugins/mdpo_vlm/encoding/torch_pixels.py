"""The operations on pictures that image processors of transformers take from torchvision, computed with torch.

Names, arguments and results are those of ``torchvision.transforms.v2.functional`` on the CPU; torchvision calls the
same functions of torch. A picture is a tensor of the shape (..., channels, height, width). Only what an image processor
of a vision-language model calls is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from torch.nn import functional


class InterpolationMode(Enum):
    """How `resize` finds the values between pixels."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


# Pillow's numbers of the same filters, as the settings of image processors name them.
OF_PILLOW = {
    0: InterpolationMode.NEAREST,
    1: InterpolationMode.LANCZOS,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
}
_SHARP = (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT)


def resize(
    image: torch.Tensor,
    size: Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    antialias: bool = True,
) -> torch.Tensor:
    """The picture with another height and width. Bytes stay bytes, and are rounded.

    ``interpolation``: a mode, or its number in Pillow.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    mode = interpolation if isinstance(interpolation, InterpolationMode) else OF_PILLOW[interpolation]
    options: dict[str, Any] = {} if mode in _SHARP else {"align_corners": False, "antialias": antialias}
    rows = image.reshape(-1, *image.shape[-3:])
    if image.dtype == torch.uint8 or image.is_floating_point():
        made = functional.interpolate(rows, list(size), mode=mode.value, **options)
    else:
        made = functional.interpolate(rows.float(), list(size), mode=mode.value, **options).round()
    return made.to(image.dtype).reshape(*image.shape[:-2], *size)


def pad(
    image: torch.Tensor,
    padding: Sequence[int],
    fill: float | Sequence[float] | None = None,
    padding_mode: str = "constant",
) -> torch.Tensor:
    """The picture with more pixels of the value ``fill`` to the left, at the top, to the right, and at the bottom.

    ``fill``: one number, or one for each channel.
    """
    if padding_mode != "constant":
        raise ValueError(f"padding_mode is {padding_mode!r}; only 'constant' is computed")
    left, top, right, bottom = padding
    values = image.new_tensor([0] if fill is None else fill).reshape(-1, 1, 1)
    height, width = image.shape[-2:]
    made = values.expand(image.shape[-3], height + top + bottom, width + left + right)
    made = made.expand(*image.shape[:-3], *made.shape).clone()
    made[..., top : top + height, left : left + width] = image
    return made


def normalize(image: torch.Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> torch.Tensor:
    """(picture - mean) / std of each channel."""
    middle, scale = (
        torch.as_tensor(values, dtype=image.dtype, device=image.device).reshape(-1, 1, 1) for values in (mean, std)
    )
    return (image.sub_(middle) if inplace else image.sub(middle)).div_(scale)
