"""Attention over packed prompts and branches.

A prompt of three tokens with two branches, of two tokens and of one. Each row of the drawing is a token of the query;
``x`` marks the keys that it attends to:

            prompt   branch  branch
    prompt  x . .    . .     .
            x x .    . .     .
            x x x    . .     .
    branch  x x x    x .     .
            x x x    x x     .
    branch  x x x    . .     x

Nothing attends to a dropped token, so its column is empty. Different prompts do not attend to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mdpo_core.scoring.flex_attention import flex_attention
from mdpo_core.types.layout import Attention, Packed
from mdpo_core.types.transfer import to_device


def sdpa_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """Attention of a packed row by SDPA: one call for each prompt, and one for all its branches.

    ``query``: ``(1, heads, time, dim)``. ``key`` and ``value`` may have fewer heads; the same number of
    query heads shares each of them. Returns ``(1, heads, time, dim)``.
    """
    # Under autocast, rotary embeddings leave query and key in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    # Splits instead of slicing: in backward, each slice would cost a tensor of zeros.
    sizes = [sum(lengths) for lengths in packed.lengths]
    queries, keys, values = (torch.split(states, sizes, dim=2) for states in (query, key, value))
    prompts = enumerate(zip(queries, keys, values, strict=True))
    return torch.cat([part for index, states in prompts for part in _attend(index, *states, packed, scale)], dim=2)


def _attend(
    index: int, query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None
) -> Iterator[Tensor]:
    """A prompt attends to itself, with the causal kernel; then all its branches attend to it and to themselves."""
    prompt, *branches = packed.lengths[index]
    of_prompt, of_branches = torch.split(query, [prompt, sum(branches)], dim=2)
    mask = _prompt_mask(index, query, packed)
    yield F.scaled_dot_product_attention(
        of_prompt, key[:, :, :prompt], value[:, :, :prompt], attn_mask=mask, is_causal=mask is None, scale=scale
    )
    if branches:
        mask = _branches_mask(index, query, packed)
        yield F.scaled_dot_product_attention(of_branches, key, value, attn_mask=mask, scale=scale)


def _prompt_mask(index: int, query: Tensor, packed: Packed) -> Tensor | None:
    """The mask of a prompt, ``(prompt, prompt)``. None if no token is dropped: the causal kernel needs no mask."""
    dropped = packed.drops(index)
    if dropped is None:
        return None
    cached = "prompt", index
    if cached not in packed.masks:
        packed.masks[cached] = _additive(_prompt_sees(~dropped), query)
    mask: Tensor = packed.masks[cached]
    return mask


def _branches_mask(index: int, query: Tensor, packed: Packed) -> Tensor:
    """The mask of a prompt's branches, ``(branches, prompt + branches)``.

    Prompts with equal lengths share one mask, unless they drop tokens.
    """
    (prompt, *branches), dropped = packed.lengths[index], packed.drops(index)
    cached = "branches", packed.lengths[index], None if dropped is None else index
    if cached not in packed.masks:
        kept = torch.ones(prompt, dtype=torch.bool) if dropped is None else ~dropped
        packed.masks[cached] = _additive(_branches_see(kept, branches), query)
    mask: Tensor = packed.masks[cached]
    return mask


def _additive(sees: Tensor, query: Tensor) -> Tensor:
    """A mask with 0 where a token is seen, else -inf. SDPA also takes a bool mask, but eager attention misreads it."""
    sees = to_device(sees, query.device)
    return query.new_zeros(sees.shape).masked_fill(~sees, -torch.inf)


def _prompt_sees(kept: Tensor) -> Tensor:
    sees = kept.expand(len(kept), -1).tril()
    # A token that sees nothing would give nan, so it sees itself.
    sees_nothing = ~sees.any(dim=1, keepdim=True)
    return sees | (torch.eye(len(kept), dtype=torch.bool) & sees_nothing)


def _branches_see(kept: Tensor, branches: Sequence[int]) -> Tensor:
    triangles = [torch.ones(size, size, dtype=torch.bool).tril() for size in branches]
    themselves: Tensor = torch.block_diag(*triangles)  # type: ignore[no-untyped-call]  # torch's
    return torch.cat([kept.expand(len(themselves), -1), themselves], dim=1)


def takes_flex(query: Tensor) -> bool:
    """Whether `auto_attention` computes this query with FlexAttention."""
    return query.is_cuda


def auto_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """FlexAttention on CUDA, SDPA elsewhere."""
    attend = flex_attention if takes_flex(query) else sdpa_attention
    return attend(query, key, value, packed, scale)


# By the values of `scoring.attention`.
ATTENTIONS: Mapping[str, Attention] = {"auto": auto_attention, "sdpa": sdpa_attention}
