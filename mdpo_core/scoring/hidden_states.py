"""The hidden states that predict the responses, from shared prompts or from one forward for each view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.scoring.experts.balance import BalancedModel
from mdpo_core.scoring.noise.embeddings import NoisyModel
from mdpo_core.scoring.probes import AllLayers
from mdpo_core.types.batch import Batch, EncodedImage, Item
from mdpo_core.types.layout import Attention, PaddedView, consecutive, pad_view
from mdpo_core.types.packing import Parts, joined, pack
from mdpo_core.types.scores import TokenLogProbs
from mdpo_core.types.transfer import to_device
from mdpo_core.types.view import View

# What gives hidden states: a model, or one with something more.
GivesHiddenStates: TypeAlias = VisionLanguageModel | AllLayers | NoisyModel | BalancedModel


@dataclass(frozen=True)
class PredictingHiddenStates:
    """``hidden (tokens, hidden)`` predict ``token_ids (tokens,)``; ``spans[view][row]`` are the parts of one response.

    Equal responses to equal prompts may share all of them, and others what they have in common. ``unscored[view]``:
    mask of tokens that are read but not scored, ``(batch, time)`` bool; only for views that have such tokens.
    """

    hidden: Tensor
    token_ids: Tensor
    spans: Mapping[View, Sequence[Parts]]
    unscored: Mapping[View, Tensor]

    def by_view(self, values: Tensor) -> dict[View, TokenLogProbs]:
        """Distribute one value per token, ``(tokens,)``, to the rows of each view."""
        return {view: self._of(view, [joined(values, parts) for parts in spans]) for view, spans in self.spans.items()}

    def outputs_by_view(self, values: Tensor) -> dict[View, Tensor]:
        """Distribute several values per token, ``(tokens, outputs)``, to each view: ``(batch, time, outputs)``."""
        by_view = {}
        for view, spans in self.spans.items():
            rows = pad_sequence([joined(values, parts) for parts in spans], batch_first=True)
            left_out = self.unscored.get(view)
            by_view[view] = (
                rows if left_out is None else rows.masked_fill(to_device(left_out, rows.device)[..., None], 0)
            )
        return by_view

    def _of(self, view: View, rows: Sequence[Tensor]) -> TokenLogProbs:
        tokens = padded(rows)
        if view not in self.unscored:
            return tokens
        mask = tokens.mask & ~to_device(self.unscored[view], tokens.mask.device)
        return TokenLogProbs(tokens.values.where(mask, 0), mask)


def unscored(batch: Batch, views: Sequence[View]) -> dict[View, Tensor]:
    """The masks of `PredictingHiddenStates.unscored`."""
    masks = {}
    for view in views:
        if batch.has_turns(view.response):
            turns = [item.turns for item in batch.items[view]]
            masks[view] = pad_sequence(turns, batch_first=True) == 0
    return masks


def packed_states(
    model: GivesHiddenStates,
    batch: Batch,
    views: Sequence[View],
    images: Sequence[EncodedImage],
    attention: Attention,
    multiple: int = 1,
) -> PredictingHiddenStates:
    """One forward for all views: each prompt is computed once, with its responses as branches.

    So are the tokens with which all of these responses begin.
    The row is padded to a multiple of ``multiple`` tokens.
    """
    device = device_of(model.module)
    items = [item for view in views for item in batch.items[view]]
    packing = pack(items, attention, multiple)
    hidden = model.packed_hidden_states(packing.packed.to(device), _shown(images, packing.image_indices))[0]
    spans = iter(packing.spans)
    return PredictingHiddenStates(
        hidden[to_device(packing.predicting, device)],
        to_device(packing.predicted, device),
        {view: list(islice(spans, len(batch))) for view in views},
        unscored(batch, views),
    )


def padded_states(
    model: GivesHiddenStates,
    batch: Batch,
    views: Sequence[View],
    images: Sequence[EncodedImage],
) -> PredictingHiddenStates:
    """One padded forward for each view, as in a plain script. `packed_states` must give the same."""
    device = device_of(model.module)
    hidden, token_ids, spans = [], [], {}
    done = 0
    for view in views:
        items = batch.items[view]
        on_cpu = _padded_rows(items)
        rows = PaddedView(*(to_device(part, device) for part in on_cpu))
        states = model.hidden_states(rows, _shown(images, [index for item in items for index in item.image_indices]))
        # The hidden state before a token predicts it.
        predicted = on_cpu.response_mask.flatten().nonzero().squeeze(1)
        hidden.append(states.flatten(0, 1)[to_device(predicted - 1, device)])
        token_ids.append(to_device(on_cpu.token_ids.flatten()[predicted], device))
        spans[view] = [(span,) for span in consecutive([len(item.response) for item in items], done)]
        done += len(token_ids[-1])
    return PredictingHiddenStates(torch.cat(hidden), torch.cat(token_ids), spans, unscored(batch, views))


def _padded_rows(items: Sequence[Item]) -> PaddedView:
    return pad_view(
        [item.prompt for item in items], [item.response for item in items], [item.dropped for item in items]
    )


def _shown(images: Sequence[EncodedImage], indices: Sequence[int]) -> list[EncodedImage]:
    return [images[index] for index in indices]


def padded(rows: Sequence[Tensor]) -> TokenLogProbs:
    """Pad rows of shape ``(time,)`` to one tensor, with a mask of the real values."""
    lengths = torch.tensor([len(row) for row in rows])
    values = pad_sequence(list(rows), batch_first=True)
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    return TokenLogProbs(values, to_device(mask, values.device))
