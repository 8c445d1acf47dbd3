"""Packed attention inside the language models of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mdpo_core import Packed
from mdpo_vlm.forward.temperature import scaled
from mdpo_vlm.forward.windows import attend_in_window, reaches_beyond

_NAME, _IN_WINDOWS = "mdpo_packed", "mdpo_packed_in_windows"
# transformers passes a mask of four dimensions on unchanged. Packed attention makes its mask itself.
NO_MASK = torch.empty(1, 1, 0, 0)


def use_packed_attention(model: PreTrainedModel, *, windows: bool = False) -> None:
    """Let the language model accept ``packed=...``; calls without ``packed`` use SDPA as before.

    ``windows``: packed rows keep to the sliding windows of layers. Layers that do so cannot be compiled.
    """
    AttentionInterface.register(_NAME, _attend)
    AttentionInterface.register(_IN_WINDOWS, _attend_in_windows)
    name = _IN_WINDOWS if windows else _NAME
    AttentionMaskInterface.register(name, sdpa_mask)
    # Of a language model without a configuration of its own (Phi-4's), the whole model's is meant, but no other part's.
    of_text = "" if model.config.get_text_config() is model.config else "text_config"
    model.set_attn_implementation({of_text: name})


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Packed | None = None,
    scaling: float | None = None,
    positions: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """``query``, ``key``, ``value``: ``(batch, heads, time, dim)``; gives ``(batch, time, heads, dim)``.

    ``positions``: of each token, for layers that scale queries by them.
    """
    if positions is not None:
        query = scaled(module, query, positions)
    if packed is None:
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return attended, None
    return packed.attend(query, key, value, scaling).transpose(1, 2), None


def _attend_in_windows(
    module: nn.Module, *inputs: Any, packed: Packed | None = None, sliding_window: int | None = None, **options: Any
) -> tuple[Tensor, None]:
    """As `_attend`, with the same ``inputs``, in the window of the layer if it has one."""
    if packed is None or sliding_window is None or not reaches_beyond(packed, sliding_window):
        return _attend(module, *inputs, packed=packed, sliding_window=sliding_window, **options)
    query, key, value = inputs[:3]
    attended = attend_in_window(query, key, value, packed, options.get("scaling"), sliding_window)
    return attended.transpose(1, 2), None
