"""Inputs with one number for each token, which tell images or responses from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_vlm.families import Family, Marked
from mdpo_vlm.files.config import image_token_id


def marked(
    base: PreTrainedModel, family: Family, token_ids: Tensor, response_mask: Tensor, around: Sequence[int]
) -> Mapping[str, Tensor]:
    """The family's marks: 1 for marked tokens, else 0. ``around``: the numbers of the tokens around images."""
    if not family.marks:
        return {}
    image_token = image_token_id(base.config)
    with_those_around = torch.isin(token_ids, token_ids.new_tensor([image_token, *around]))
    kinds: dict[Marked, Tensor] = {
        "image tokens": token_ids.eq(image_token),
        "image tokens and those around them": with_those_around & ~response_mask,  # a processor marks prompts alone
        "response tokens": response_mask,
    }
    return {name: kinds[kind].long() for name, kind in family.marks.items()}
