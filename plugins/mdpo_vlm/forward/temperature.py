"""Layers that scale their queries by the position of a token (those of Llama 4 that have no rotary positions).

transformers counts from the start of a row, where padding may be, or other sequences of a packed row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_vlm.parts.names import decoder_of


def scale_by_position(model: PreTrainedModel) -> None:
    """Let such layers tell their attention the ``positions`` of tokens, instead of scaling queries themselves.

    This changes the model permanently.
    """
    for layer in decoder_of(model).layers:
        attention = layer.self_attn
        if getattr(attention, "attn_temperature_tuning", False) and not attention.use_rope:
            attention.attn_temperature_tuning = False
            layer.forward = partial(_forward, layer.forward)


def _forward(forward: Callable[..., Any], *inputs: Any, position_ids: Tensor, **options: Any) -> Any:
    return forward(*inputs, position_ids=position_ids, positions=position_ids, **options)


def scaled(attention: nn.Module, query: Tensor, positions: Tensor) -> Tensor:
    """``query (batch, heads, time, dim)``, larger the further a token is from the start of its sequence.

    It grows with the logarithm of the number of spans of ``floor_scale`` tokens that are complete.
    """
    module: Any = attention
    spans = torch.floor((positions.float() + 1) / module.floor_scale)
    scale = torch.log1p(spans) * module.attn_scale + 1
    larger: Tensor = (query * scale[:, None, :, None]).to(query.dtype)
    return larger
