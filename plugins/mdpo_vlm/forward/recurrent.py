"""Packed rows through layers with a state that goes from token to token: linear attention, short convolutions.

Such a layer would take the tokens of one branch for the past of the next. Here it computes all prompts first, and then
all branches, each from the state that its prompt ends in. These are two calls of the layer's own forward, however many
prompts there are: processes that split weights must all make the same number of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from mdpo_core import Packed, to_device
from mdpo_vlm.families import Recurrent


def start_branches_from_prompts(model: PreTrainedModel, recurrent: Recurrent) -> None:
    """Let the layers with a state accept ``packed=...``; calls without ``packed`` stay as before.

    This changes the model permanently.
    """
    for layer in model.get_decoder().layers:
        mixer = getattr(layer, recurrent.module, None)
        if mixer is not None:
            mixer.forward = partial(_forward, mixer.forward, recurrent.cache)


def _forward(
    forward: Callable[..., Tensor],
    cache: str,
    hidden_states: Tensor,
    packed: Packed | None = None,
    **options: Any,
) -> Tensor:
    """``hidden_states``: ``(1, time, width)`` of a packed row; gives the same shape."""
    if packed is None:
        return forward(hidden_states, **options)
    rows = _rows(packed, hidden_states.device)
    state = _State()
    of_prompts = forward(hidden_states[0, rows.prompts], **{cache: state, "attention_mask": rows.kept})
    of_branches = forward(hidden_states[0, rows.branches], **{cache: state.of(rows.owners), "attention_mask": None})
    return torch.cat([of_prompts.flatten(0, 1), of_branches.flatten(0, 1)]).index_select(0, rows.back)[None]


@dataclass(frozen=True)
class _Rows:
    """Where the tokens of a packed row are in a batch of prompts and a batch of branches.

    ``prompts``: the positions in the row, ``(prompts, time)``, with padding on the left, where a state does not change.
    ``kept``: 0 on padding and on dropped tokens, same shape. ``branches``: ``(branches, time)``, with padding on the
    right. ``owners``: the prompt of each branch. ``back``: ``(time,)``, for each token of the row its place in both
    batches, flattened and joined.
    """

    prompts: Tensor
    kept: Tensor
    branches: Tensor
    owners: Tensor
    back: Tensor


def _rows(packed: Packed, device: torch.device) -> _Rows:
    """Made once for all layers."""
    if "recurrent" not in packed.masks:
        made = _rows_on_cpu(packed)
        packed.masks["recurrent"] = _Rows(**{name: to_device(part, device) for name, part in vars(made).items()})
    rows: _Rows = packed.masks["recurrent"]
    return rows


def _rows_on_cpu(packed: Packed) -> _Rows:
    places = torch.split(torch.arange(sum(packed.sizes)), packed.sizes)
    is_prompt = [not branch for lengths in packed.lengths for branch, _ in enumerate(lengths)]
    prompts = [part for part, chosen in zip(places, is_prompt, strict=True) if chosen]
    branches = [part for part, chosen in zip(places, is_prompt, strict=True) if not chosen]
    seen = [_seen(packed, number, len(part)) for number, part in enumerate(prompts)]
    owners = [number for number, lengths in enumerate(packed.lengths) for _ in lengths[1:]]
    padded, on_left = pad_sequence(branches, batch_first=True), _left_padded(prompts)
    batches = [
        (on_left, [on_left.shape[1] - len(part) for part in prompts], prompts),
        (padded, [0] * len(branches), branches),
    ]
    back, first = torch.empty(sum(packed.sizes), dtype=torch.long), 0
    for batch, starts, parts in batches:
        for start, part in zip(starts, parts, strict=True):
            back[part] = first + start + torch.arange(len(part))
            first += batch.shape[1]
    return _Rows(on_left, _left_padded(seen), padded, torch.tensor(owners), back)


def _seen(packed: Packed, number: int, length: int) -> Tensor:
    dropped = packed.drops(number)
    return torch.ones(length, dtype=torch.bool) if dropped is None else ~dropped.cpu()


def _left_padded(parts: Sequence[Tensor]) -> Tensor:
    longest = max(map(len, parts))
    return torch.stack([pad(part, (longest - len(part), 0)) for part in parts])


class _State:
    """Stands in for the cache of transformers in one layer: the state that sequences start with, then end with.

    Unlike that cache, it changes no tensor in place, so gradients flow from the branches to their prompt.
    """

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        self._conv, self._recurrent = conv, recurrent

    def of(self, rows: Tensor) -> _State:
        """The states of ``rows``, of which some may be equal."""
        return _State(*(None if each is None else each.index_select(0, rows) for each in (self._conv, self._recurrent)))

    def get_conv_state(self, layer: int, state_idx: int = 0) -> Tensor | None:
        return self._conv

    def get_recurrent_state(self, layer: int, state_idx: int = 0) -> Tensor | None:
        return self._recurrent

    def is_recording_past(self, layer: int) -> bool:
        return True  # otherwise a single token would change the state in place

    def update_conv_state(self, new: Tensor, layer: int, conv_kernel_size: int) -> Tensor:
        joined = new if self._conv is None else torch.cat([self._conv, new], dim=-1)
        self._conv = joined[..., -conv_kernel_size:]
        return joined

    def update_recurrent_state(self, new: Tensor, layer: int) -> None:
        self._recurrent = new
