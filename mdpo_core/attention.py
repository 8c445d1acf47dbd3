"""Attention over packed prompts and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mdpo_core.errors import MdpoError
from mdpo_core.layout import Packed


def packed_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """Causal attention in which a branch sees its prompt and itself, and nothing else.

    ``query``: ``(1, heads, time, dim)``; ``key`` and ``value`` may have fewer heads, each for as many of the query's.
    Gives ``(1, heads, time, dim)``. On CUDA by FlexAttention, elsewhere by SDPA for each prompt and branch.
    """
    if query.is_cuda and packed.flex:
        return _flex(query, key, value, packed, scale)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    # Splitting, where slicing would cost a tensor of zeros for each slice in backward.
    sizes = [sum(lengths) for lengths in packed.lengths]
    queries, keys, values = (torch.split(states, sizes, dim=2) for states in (query, key, value))
    prompts = enumerate(zip(queries, keys, values, strict=True))
    return torch.cat([part for number, each in prompts for part in _group(number, *each, packed, scale)], dim=2)


def _group(
    number: int, query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None
) -> Iterator[Tensor]:
    """A prompt by itself, with the causal kernel, then all its branches at once over the prompt and themselves."""
    prompt, *branches = packed.lengths[number]
    first, others = torch.split(query, [prompt, sum(branches)], dim=2)
    mask = None if packed.hides(number) is None else _mask(number, query, packed, _prompt_sees)
    yield F.scaled_dot_product_attention(
        first, key[:, :, :prompt], value[:, :, :prompt], attn_mask=mask, is_causal=mask is None, scale=scale
    )
    if branches:
        mask = _mask(number, query, packed, _branches_see)
        yield F.scaled_dot_product_attention(others, key, value, attn_mask=mask, scale=scale)


def _mask(number: int, query: Tensor, packed: Packed, seen: Callable[[Sequence[int], Tensor], Tensor]) -> Tensor:
    """Additive, ``(query's time, key's time)``: a bool mask would be right here and wrong in eager attention."""
    lengths, hidden = packed.lengths[number], packed.hides(number)
    # Where nothing is hidden, prompts and branches of equal lengths have one mask.
    name = seen, lengths, None if hidden is None else number
    if name not in packed.masks:
        visible = torch.ones(lengths[0], dtype=torch.bool) if hidden is None else ~hidden
        sees = seen(lengths, visible).to(query.device)
        packed.masks[name] = query.new_zeros(sees.shape).masked_fill(~sees, -torch.inf)
    mask: Tensor = packed.masks[name]
    return mask


def _prompt_sees(lengths: Sequence[int], visible: Tensor) -> Tensor:
    sees = visible.expand(lengths[0], -1).tril()
    # A token that would see nothing sees itself, as no mean is taken over nothing.
    return sees | torch.eye(lengths[0], dtype=torch.bool) & ~sees.any(dim=1, keepdim=True)


def _branches_see(lengths: Sequence[int], visible: Tensor) -> Tensor:
    _, *branches = lengths
    triangles = [torch.ones(size, size, dtype=torch.bool).tril() for size in branches]
    own: Tensor = torch.block_diag(*triangles)  # type: ignore[no-untyped-call]  # torch's
    return torch.cat([visible.expand(len(own), -1), own], dim=1)


def _flex(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None) -> Tensor:
    attend, create = _compiled()
    few_keys = query.shape[1] != key.shape[1]
    try:
        if "blocks" not in packed.masks:
            packed.masks["blocks"] = block_mask(packed, create)
        attended = attend(query, key, value, block_mask=packed.masks["blocks"], scale=scale, enable_gqa=few_keys)
    except TorchDynamoException as error:
        reason = str(error).splitlines()[0]
        raise MdpoError(f"FlexAttention cannot be compiled here ({reason}); set scoring.attention: sdpa") from error
    return cast(Tensor, attended)


@lru_cache(maxsize=1)
def _compiled() -> tuple[Any, Any]:
    """Uncompiled, the one holds every score and the other every place of the mask. Lengths change with each batch."""
    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)


def block_mask(packed: Packed, create: Callable[..., Any] = create_block_mask) -> Any:
    """FlexAttention's mask of a row."""
    groups, branches = packed.groups, packed.branches
    hidden = _hidden(packed) if any(part is not None for part in packed.hidden) else None

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_branch = (branches[key] == 0) | (branches[key] == branches[query])
        seen = (groups[query] == groups[key]) & same_branch & (query >= key)
        return seen if hidden is None else seen & ~hidden[key]

    time = packed.token_ids.shape[1]
    return create(sees, None, None, time, time, device=packed.token_ids.device)


def _hidden(packed: Packed) -> Tensor:
    """Which tokens of the whole row nothing attends to, ``(time,)`` bool."""
    parts = []
    for number, (prompt, *branches) in enumerate(packed.lengths):
        of_prompt = packed.hides(number)
        parts.append(torch.zeros(prompt, dtype=torch.bool) if of_prompt is None else of_prompt)
        parts.append(torch.zeros(sum(branches), dtype=torch.bool))
    return torch.cat(parts).to(packed.token_ids.device)
