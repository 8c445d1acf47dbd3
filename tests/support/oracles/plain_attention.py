"""What a token of a packed row may see, place by place, and attention that is written out with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """A token's prompt, its branch (0: of the prompt itself), and its place in the row."""

    group: int
    branch: int
    place: int


Sees = Callable[[Place, Place], bool]


def right(query: Place, key: Place) -> bool:
    """Causal, within one prompt; from a branch to the prompt and to itself."""
    return query.group == key.group and key.place <= query.place and key.branch in (0, query.branch)


def mask_of(lengths: tuple[tuple[int, ...], ...], sees: Sees = right) -> Tensor:
    """``(time, time)`` bool: true where the row's token may see the column's."""
    parts = [
        (group, branch) for group, sizes in enumerate(lengths) for branch, size in enumerate(sizes) for _ in range(size)
    ]
    places = [Place(group, branch, place) for place, (group, branch) in enumerate(parts)]
    return torch.tensor([[sees(query, key) for key in places] for query in places])


def attend_as(sees: Sees) -> Callable[..., Tensor]:
    """Attention over a packed row by softmax over whole scores, in place of `sdpa_attention`."""

    def attention(query: Tensor, key: Tensor, value: Tensor, packed: Any, scale: float | None = None) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        hidden = ~mask_of(packed.lengths, sees).to(query.device)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value

    return attention
