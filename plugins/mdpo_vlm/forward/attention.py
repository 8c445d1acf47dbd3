"""Packed attention inside the language models of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mdpo_core import Packed
from mdpo_vlm.forward.windows import attend_in_window, reaches_beyond

_NAME = "mdpo_packed"
# transformers passes a mask of four dimensions on unchanged. Packed attention makes its mask itself.
NO_MASK = torch.empty(1, 1, 0, 0)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let the language model accept ``packed=...``; calls without ``packed`` use SDPA as before."""
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": _NAME})


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Packed | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """``query``, ``key``, ``value``: ``(batch, heads, time, dim)``; gives ``(batch, time, heads, dim)``."""
    if packed is None:
        options["sliding_window"] = sliding_window
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return attended, None
    if sliding_window is not None and reaches_beyond(packed, sliding_window):
        return attend_in_window(query, key, value, packed, scaling, sliding_window).transpose(1, 2), None
    return packed.attend(query, key, value, scaling).transpose(1, 2), None
