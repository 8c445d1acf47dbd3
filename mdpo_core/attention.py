"""Attention over packed prompts and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mdpo_core.layout import Packed


def packed_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """Causal attention in which a branch sees its prompt and itself, and nothing else.

    ``query``: ``(1, heads, time, dim)``; ``key`` and ``value`` may have fewer heads, each for as many of the query's.
    Gives ``(1, heads, time, dim)``. On CUDA by FlexAttention, elsewhere by a product for each prompt and branch.
    """
    if query.is_cuda:
        return _flex(query, key, value, packed, scale)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    # Splitting, where slicing would cost a tensor of zeros for each slice in backward.
    parts = zip(*(torch.split(states, packed.sizes, dim=2) for states in (query, key, value)), strict=True)
    return torch.cat([attended for lengths in packed.lengths for attended in _group(parts, len(lengths), scale)], dim=2)


def _group(parts: Iterator[tuple[Tensor, ...]], size: int, scale: float | None) -> Iterator[Tensor]:
    """A prompt by itself, with the causal kernel, then each branch over the prompt and itself."""
    query, prompt_key, prompt_value = next(parts)
    yield F.scaled_dot_product_attention(query, prompt_key, prompt_value, is_causal=True, scale=scale)
    for _ in range(size - 1):
        query, key, value = next(parts)
        yield F.scaled_dot_product_attention(
            query,
            torch.cat([prompt_key, key], dim=2),
            torch.cat([prompt_value, value], dim=2),
            attn_mask=_branch_mask(query.shape[2], prompt_key.shape[2], query.dtype, query.device),
            scale=scale,
        )


@lru_cache(maxsize=64)
def _branch_mask(branch: int, prompt: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Additive, ``(branch, prompt + branch)``: a bool mask would be right here and wrong in eager attention."""
    later = torch.full((branch, branch), -torch.inf, dtype=dtype, device=device).triu(diagonal=1)
    return torch.cat([later.new_zeros(branch, prompt), later], dim=1)


def _flex(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None) -> Tensor:
    attend, create = _compiled()
    attended: Tensor = attend(
        query,
        key,
        value,
        block_mask=block_mask(packed, create),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended


@lru_cache(maxsize=1)
def _compiled() -> tuple[Any, Any]:
    """Uncompiled, the one holds every score and the other every place of the mask. Lengths change with each batch."""
    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)


@lru_cache(maxsize=2)
def block_mask(packed: Packed, create: Callable[..., Any] = create_block_mask) -> Any:
    """FlexAttention's mask of a row, made once for all layers."""
    groups, branches = packed.groups, packed.branches

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_branch = (branches[key] == 0) | (branches[key] == branches[query])
        return (groups[query] == groups[key]) & same_branch & (query >= key)

    time = packed.token_ids.shape[1]
    return create(sees, None, None, time, time, device=packed.token_ids.device.type)
