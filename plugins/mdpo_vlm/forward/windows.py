"""Attention of packed rows in layers with a sliding window: a token sees its own past, up to a fixed distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mdpo_core import Packed, to_device


def attend_in_window(
    query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None, window: int
) -> Tensor:
    """As `Packed.attend`, where a token sees itself and the ``window - 1`` tokens before it in its prompt and branch.

    ``query``: ``(1, heads, time, dim)``; ``key`` and ``value`` may have fewer heads. Gives ``(1, heads, time, dim)``.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    sizes = [sum(lengths) for lengths in packed.lengths]
    parts = zip(*(torch.split(states, sizes, dim=2) for states in (query, key, value)), strict=True)
    attended = [
        F.scaled_dot_product_attention(own, keys, values, attn_mask=_mask(number, own, packed, window), scale=scale)
        for number, (own, keys, values) in enumerate(parts)
    ]
    return torch.cat(attended, dim=2)


def reaches_beyond(packed: Packed, window: int) -> bool:
    """Whether some token of the row has more tokens before it than the window shows."""
    return any(lengths[0] + max(lengths[1:], default=0) > window for lengths in packed.lengths)


def _mask(number: int, query: Tensor, packed: Packed, window: int) -> Tensor:
    """0 where a token of a prompt and its branches is seen, else -inf, ``(time, time)``; made once for all layers."""
    cached = "window", window, number
    if cached not in packed.masks:
        sees = to_device(_sees(packed.lengths[number], packed.drops(number), window), query.device)
        packed.masks[cached] = query.new_zeros(sees.shape).masked_fill(~sees, -torch.inf)
    mask: Tensor = packed.masks[cached]
    return mask


def _sees(lengths: Sequence[int], dropped: Tensor | None, window: int) -> Tensor:
    prompt, *branches = lengths
    places = torch.cat([torch.arange(prompt), *(prompt + torch.arange(length) for length in branches)])
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    back = places[:, None] - places
    kept = torch.ones(len(places), dtype=torch.bool)
    if dropped is not None:
        kept = torch.cat([~dropped.cpu(), kept[prompt:]])
    own = (owner == 0) | (owner[:, None] == owner)
    # A token that sees nothing would give nan, so a dropped one sees itself.
    return (own & (back >= 0) & (back < window) & kept) | torch.eye(len(places), dtype=torch.bool)
