"""Positions of packed prompts and branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, Packed
from mdpo_vlm.families import Family


def packed_positions(base: PreTrainedModel, family: Family, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
    """``(1, time)``, or ``(3, 1, time)`` where an image's positions are in three dimensions (M-RoPE)."""
    if not family.grid:
        return packed.position_ids
    groups = torch.split(packed.token_ids[0], [sum(lengths) for lengths in packed.lengths])
    left = iter(images)
    found = [
        positions
        for ids, lengths in zip(groups, packed.lengths, strict=True)
        for positions in _group(base, family, ids[: lengths[0]], lengths[1:], left)
    ]
    return torch.cat(found, dim=-1)


def _group(
    base: PreTrainedModel, family: Family, prompt: Tensor, branches: Sequence[int], images: Iterator[EncodedImage]
) -> Iterator[Tensor]:
    """Those of a prompt, then those of its branches, each of which goes on behind the furthest of the prompt."""
    first = _of_prompt(base, family, prompt, images)
    yield first
    for length in branches:
        yield (first.max() + 1 + torch.arange(length, device=prompt.device)).expand(3, 1, length)


def _of_prompt(base: PreTrainedModel, family: Family, prompt: Tensor, images: Iterator[EncodedImage]) -> Tensor:
    shown = prompt == base.config.image_token_id
    grids, missing = [], int(shown.sum())
    while missing > 0:
        image = next(images)
        grids.append(image.inputs[family.grid])
        missing -= len(image.features)
    if not grids:
        return torch.arange(len(prompt), device=prompt.device).expand(3, 1, len(prompt))
    positions, _ = base.model.get_rope_index(
        prompt[None], mm_token_type_ids=shown[None].int(), **{family.grid: torch.cat(grids)}
    )
    found: Tensor = positions
    return found
