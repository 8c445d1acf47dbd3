"""Position ids of packed rows, and of rows with dropped tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, Packed, PaddedView, on_cpu, to_device
from mdpo_vlm.families import Family


def packed_positions(base: PreTrainedModel, family: Family, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
    """Position ids of a packed row: ``(1, time)``, or ``(3, 1, time)`` with M-RoPE.

    They are computed on the CPU: on a device, the host would wait for each picture's sizes.
    """
    if not family.grid:
        return packed.position_ids
    groups = torch.split(packed.token_ids_on_cpu[0], [sum(lengths) for lengths in packed.lengths])
    remaining = iter(images)
    positions = [
        part
        for ids, lengths in zip(groups, packed.lengths, strict=True)
        for part in _prompt_and_branches(base, family, ids[: lengths[0]], lengths[1:], remaining)
    ]
    return to_device(torch.cat(positions, dim=-1), packed.token_ids.device)


def positions_despite_hidden(
    base: PreTrainedModel, family: Family, rows: PaddedView, images: Sequence[EncodedImage]
) -> Tensor | None:
    """Position ids ``(3, batch, time)`` if M-RoPE takes dropped tokens for padding; None if transformers is right."""
    if not family.grid:
        return None
    token_ids, attention_mask, response_mask = (values.cpu() for values in rows)
    before_response = response_mask.flip(1).cumsum(dim=1).flip(1) > 0
    if not bool((before_response & (attention_mask == 0)).any()):
        return None
    lengths = response_mask.int().argmax(dim=1).tolist()
    remaining, time = iter(images), token_ids.shape[1]
    positions = [
        torch.cat(list(_prompt_and_branches(base, family, ids[:length], [time - length], remaining)), dim=-1)
        for ids, length in zip(token_ids, lengths, strict=True)
    ]
    return to_device(torch.cat(positions, dim=1), rows.token_ids.device)


def prompt_positions(
    base: PreTrainedModel, family: Family, prompts: Sequence[Tensor], images: Sequence[EncodedImage]
) -> Tensor:
    """Position ids of left-padded prompts: ``(batch, time)``, or ``(3, batch, time)`` with M-RoPE."""
    remaining, time = iter(images), max(map(len, prompts))
    rows = []
    for prompt in prompts:
        if family.grid:
            positions = to_device(_rope_positions(base, family, prompt.cpu(), remaining)[:, 0], prompt.device)
        else:
            positions = torch.arange(len(prompt), device=prompt.device)
        rows.append(torch.nn.functional.pad(positions, (time - len(prompt), 0)))
    return torch.stack(rows, dim=-2)


def _prompt_and_branches(
    base: PreTrainedModel, family: Family, prompt: Tensor, branches: Sequence[int], images: Iterator[EncodedImage]
) -> Iterator[Tensor]:
    """The positions of a prompt, then of each branch; a branch starts after the prompt's largest position."""
    first = _rope_positions(base, family, prompt, images)
    yield first
    for length in branches:
        yield (first.max() + 1 + torch.arange(length)).expand(3, 1, length)


def _rope_positions(base: PreTrainedModel, family: Family, prompt: Tensor, images: Iterator[EncodedImage]) -> Tensor:
    """M-RoPE positions ``(3, 1, time)`` of a prompt on the CPU; takes the prompt's images from ``images``."""
    is_image_token = prompt == base.config.image_token_id
    grids, missing = [], int(is_image_token.sum())
    while missing > 0:
        image = next(images)
        grids.append(on_cpu(image.inputs, family.grid))
        missing -= len(image.features)
    if not grids:
        return torch.arange(len(prompt)).expand(3, 1, len(prompt))
    index, _ = base.model.get_rope_index(
        prompt[None], mm_token_type_ids=is_image_token[None].int(), **{family.grid: torch.cat(grids)}
    )
    positions: Tensor = index
    return positions
