"""Molmo 2: each feature pools a few patches of an image's crops, which an input of the model numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mdpo_core import ImageInputs, on_cpu
from mdpo_vlm.families import Family

# Its rows and columns of features decide how many an image has.
_GRIDS = "image_grids"


def joined_patches(images: Sequence[ImageInputs], family: Family) -> dict[str, Tensor]:
    """The arguments of ``get_image_features`` for several images, each of which numbers its own patches from 0.

    A number of -1 is no patch. The grids stay on the CPU: the host reads them.
    """
    crops = [image["pixel_values"] for image in images]
    starts = accumulate((crop.shape[0] * crop.shape[1] for crop in crops[:-1]), initial=0)
    numbers = [_shifted(image[family.pooling], start) for image, start in zip(images, starts, strict=True)]
    grids = torch.cat([on_cpu(image, _GRIDS) for image in images])
    return {"pixel_values": torch.cat(crops), family.pooling: torch.cat(numbers), _GRIDS: grids}


def _shifted(numbers: Tensor, start: int) -> Tensor:
    return torch.where(numbers >= 0, numbers + start, numbers)
