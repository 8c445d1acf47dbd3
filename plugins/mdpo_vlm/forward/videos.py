"""Videos beside images: one vision encoder computes both, but they have inputs and positions of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mdpo_core import EncodedImage, ImageInputs, on_cpu
from mdpo_vlm.families import SECONDS_PER_PATCH, VIDEO_GRID, VIDEO_PIXELS, Family

_IMAGE, _VIDEO = 1, 2  # in ``mm_token_type_ids``


def is_video(inputs: ImageInputs) -> bool:
    """Whether the inputs are those of a video."""
    return VIDEO_GRID in inputs


def as_image(inputs: ImageInputs, family: Family) -> ImageInputs:
    """The inputs by the names that images have; models compute the features of both in the same way."""
    if not is_video(inputs):
        return inputs
    return {"pixel_values": inputs[VIDEO_PIXELS], family.grid: inputs[VIDEO_GRID]}


def grid_on_cpu(inputs: ImageInputs, family: Family) -> Tensor:
    """The patches in time, height and width of an image or a video, ``(1, 3)``, on the CPU."""
    return on_cpu(inputs, VIDEO_GRID if is_video(inputs) else family.grid)


def rope_inputs(family: Family, shown: Sequence[EncodedImage], are_shown: Tensor) -> Mapping[str, Tensor]:
    """The arguments of ``get_rope_index`` about a prompt's images and videos, on the CPU.

    ``are_shown``: ``(time,)`` bool, true on their tokens.
    """
    kinds = are_shown.int()
    by_item = [torch.full((len(each.features),), _VIDEO if is_video(each.inputs) else _IMAGE) for each in shown]
    kinds[are_shown] = torch.cat(by_item).int()
    found: dict[str, list[Tensor]] = {}
    for each in shown:
        name = VIDEO_GRID if is_video(each.inputs) else family.grid
        found.setdefault(name, []).append(grid_on_cpu(each.inputs, family))
        if SECONDS_PER_PATCH in each.inputs:
            found.setdefault(SECONDS_PER_PATCH, []).append(on_cpu(each.inputs, SECONDS_PER_PATCH))
    of_tokens = dict.fromkeys(family.marks, kinds[None])
    return {**of_tokens, **{name: torch.cat(values) for name, values in found.items()}}
