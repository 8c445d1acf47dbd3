"""Position ids of packed rows, and of rows in which tokens are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, Packed, PaddedView
from mdpo_vlm.families import Family


def packed_positions(base: PreTrainedModel, family: Family, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
    """Position ids of a packed row: ``(1, time)``, or ``(3, 1, time)`` with M-RoPE."""
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


def positions_despite_hidden(
    base: PreTrainedModel, family: Family, rows: PaddedView, images: Sequence[EncodedImage]
) -> Tensor | None:
    """``(3, batch, time)`` where M-RoPE would take dropped tokens for padding and close up; None: transformers' own."""
    if not family.grid:
        return None
    before_response = rows.response_mask.flip(1).cumsum(dim=1).flip(1) > 0
    if not bool((before_response & (rows.attention_mask == 0)).any()):
        return None
    lengths = rows.response_mask.int().argmax(dim=1).tolist()
    left, time = iter(images), rows.token_ids.shape[1]
    found = [
        torch.cat(list(_group(base, family, ids[:length], [time - length], left)), dim=-1)
        for ids, length in zip(rows.token_ids, lengths, strict=True)
    ]
    return torch.cat(found, dim=1)


def prompt_positions(
    base: PreTrainedModel, family: Family, prompts: Sequence[Tensor], images: Sequence[EncodedImage]
) -> Tensor:
    """Position ids of left-padded prompts: ``(batch, time)``, or ``(3, batch, time)`` with M-RoPE."""
    left, time = iter(images), max(map(len, prompts))
    rows = []
    for prompt in prompts:
        count = torch.arange(len(prompt), device=prompt.device)
        positions = _of_prompt(base, family, prompt, left)[:, 0] if family.grid else count
        rows.append(torch.nn.functional.pad(positions, (time - len(prompt), 0)))
    return torch.stack(rows, dim=-2)


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
