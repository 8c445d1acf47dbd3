"""Dropout that keeps little for backward: the places of the dropped numbers where they are few, else a bit a number."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_BITS = 8  # in a byte
_FEW = 1 / 8  # a place takes 32 bits
_LONGEST = 2**30  # the places of longer inputs may not fit into 32 bits


def draw_dropped(inputs: Tensor, share: float, *, on_cpu: bool) -> Tensor:
    """Which numbers of ``inputs`` dropout drops, as the other functions read it.

    On a CPU and for a small share these are their places, 1-D int32; otherwise a packed mask, 1-D uint8, that torch's
    own dropout draws, too.
    """
    if on_cpu and share <= _FEW and inputs.numel() <= _LONGEST:
        return _places(inputs.numel(), share)
    return _packed(torch.empty_like(inputs, dtype=torch.bool).bernoulli_(1 - share))


def without(values: Tensor, dropped: Tensor) -> Tensor:
    """A contiguous copy of ``values`` with zeros where it is ``dropped``."""
    if dropped.dtype == torch.int32:
        return drop_(values.clone(memory_format=torch.contiguous_format), dropped)
    return values * _unpacked(dropped, values.shape)


def drop_(values: Tensor, dropped: Tensor) -> Tensor:
    """Write zeros into ``values``, which is contiguous, where it is ``dropped``."""
    if dropped.dtype == torch.int32:
        values.view(-1).index_fill_(0, dropped.long(), 0)
        return values
    return values.mul_(_unpacked(dropped, values.shape))


def _places(count: int, share: float) -> Tensor:
    """Ascending places below ``count``, each with the probability ``share``.

    The gaps between them follow a geometric distribution. One draw for each dropped number is far fewer than one for
    each number, and torch draws on one thread.
    """
    expected = count * share
    enough = math.ceil(expected + 6 * math.sqrt(expected)) + 1
    places = _next_places(-1, enough, share)
    while places[-1] < count:
        places = torch.cat([places, _next_places(int(places[-1]), enough, share)])
    return places[: int(torch.searchsorted(places, count))]


def _next_places(last: int, number: int, share: float) -> Tensor:
    """``number`` further places after ``last``."""
    kept_between = torch.rand(number).neg_().log1p_().div_(math.log1p(-share)).int()
    return kept_between.add_(1).cumsum(0, dtype=torch.int32).add_(last)


def _packed(mask: Tensor) -> Tensor:
    """The mask with eight entries in each byte: one of each eighth of the mask, so that torch reads it in order."""
    flat = mask.flatten()
    eighths = F.pad(flat, (0, -len(flat) % _BITS)).view(_BITS, -1)
    return (eighths * _bit_values(mask.device)).sum(dim=0, dtype=torch.uint8)


def _unpacked(packed: Tensor, shape: torch.Size) -> Tensor:
    """The mask, in the type with which a device multiplies fastest: a CPU by bytes, not by bools."""
    mask = (packed & _bit_values(packed.device)).bool().flatten()[: shape.numel()].view(shape)
    return mask.view(torch.uint8) if mask.device.type == "cpu" else mask


@cache
def _bit_values(device: torch.device) -> Tensor:
    """1, 2, 4, ... 128, ``(8, 1)`` uint8."""
    return (2 ** torch.arange(_BITS, device=device)).to(torch.uint8)[:, None]
