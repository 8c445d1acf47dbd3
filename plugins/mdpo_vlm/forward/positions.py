"""Position ids of packed rows, and of rows with dropped tokens or videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, Packed, PaddedView, to_device
from mdpo_vlm.families import Family
from mdpo_vlm.forward.videos import is_video, rope_inputs


def packed_positions(base: PreTrainedModel, family: Family, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
    """Position ids of a packed row: ``(1, time)``, or ``(3, 1, time)`` with M-RoPE.

    They are computed on the CPU: on a device, the host would wait for each picture's sizes.
    """
    if not family.has_mrope:
        return packed.position_ids
    groups = torch.split(packed.token_ids_on_cpu[0], [sum(lengths) for lengths in packed.lengths])
    remaining = iter(images)
    positions = [
        part
        for ids, lengths in zip(groups, packed.lengths, strict=True)
        for part in _prompt_and_branches(base, family, ids, lengths, remaining)
    ]
    return to_device(torch.cat(positions, dim=-1), packed.token_ids.device)


def padded_positions(
    base: PreTrainedModel, family: Family, rows: PaddedView, images: Sequence[EncodedImage]
) -> Tensor | None:
    """Position ids ``(3, batch, time)`` where M-RoPE takes dropped tokens for padding, or videos for images.

    None if transformers is right.
    """
    if not family.has_mrope:
        return None
    token_ids, attention_mask, response_mask = (values.cpu() for values in rows)
    before_response = response_mask.flip(1).cumsum(dim=1).flip(1) > 0
    has_dropped = bool((before_response & (attention_mask == 0)).any())
    if not has_dropped and not any(is_video(image.inputs) for image in images):
        return None
    remaining, time = iter(images), token_ids.shape[1]
    # A row without a response is a prompt.
    lengths = response_mask.int().argmax(dim=1).masked_fill(~response_mask.any(dim=1), time).tolist()
    positions = [
        torch.cat(list(_prompt_and_branches(base, family, ids, [length, time - length], remaining)), dim=-1)
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
        if family.has_mrope:
            shown = _shown_in(base, prompt.cpu(), remaining)
            positions = to_device(_rope_positions(base, family, prompt.cpu(), shown)[:, 0, :-1], prompt.device)
        else:
            positions = torch.arange(len(prompt), device=prompt.device)
        rows.append(pad(positions, (time - len(prompt), 0)))
    return torch.stack(rows, dim=-2)


def _prompt_and_branches(
    base: PreTrainedModel, family: Family, ids: Tensor, lengths: Sequence[int], images: Iterator[EncodedImage]
) -> Iterator[Tensor]:
    """The positions of a prompt, then of each branch, which starts where the prompt goes on.

    ``ids``: the prompt and its branches; ``lengths``: theirs. Takes the prompt's images from ``images``.
    """
    prompt, *branches = torch.split(ids, list(lengths))
    shown = _shown_in(base, prompt, images)
    positions = _rope_positions(base, family, prompt, shown)
    yield positions[..., :-1]
    for branch in branches:
        if family.tiles:  # a line break after an image belongs to it, wherever it stands
            yield _rope_positions(base, family, torch.cat([prompt, branch]), shown)[..., len(prompt) : -1]
        else:
            yield positions[..., -1:] + torch.arange(len(branch))


def _shown_in(base: PreTrainedModel, prompt: Tensor, images: Iterator[EncodedImage]) -> list[EncodedImage]:
    """Takes the images of a prompt from ``images``."""
    shown: list[EncodedImage] = []
    missing = int((prompt == base.config.image_token_id).sum())
    while missing > 0:
        shown.append(next(images))
        missing -= len(shown[-1].features)
    return shown


def _rope_positions(base: PreTrainedModel, family: Family, ids: Tensor, shown: Sequence[EncodedImage]) -> Tensor:
    """M-RoPE positions ``(3, 1, time + 1)`` of ``ids`` and of the next token of text, on the CPU.

    The next token need not follow the largest position: that of a long video is beyond it.
    """
    ids = pad(ids, (0, 1))
    if not shown:
        return torch.arange(len(ids)).expand(3, 1, len(ids))
    is_image_token = ids == base.config.image_token_id
    is_image_token[-1] = False
    given = {"attention_mask": torch.ones_like(ids)[None], **rope_inputs(family, shown, is_image_token)}
    index, _ = base.model.get_rope_index(ids[None], **given)
    positions: Tensor = index
    return positions
