"""The load-balancing loss of the Switch Transformer (arXiv:2101.03961, equations 4 to 6), as transformers has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mdpo_core.interfaces.model import Routing, VisionLanguageModel
from mdpo_core.scoring.layers import returned_by
from mdpo_core.scoring.noise.embeddings import NoisyModel
from mdpo_core.types.batch import EncodedImage
from mdpo_core.types.layout import Packed, PaddedView
from mdpo_core.types.transfer import to_device


class BalancedModel:
    """A model that keeps what its routers say while this object computes hidden states, for `loss`.

    It is for one forward, so that nothing of a forward that failed is left in the loss of the next one.
    Every token counts as often as there are views that read it, so a prompt that views share gives the same loss as
    one sequence for each view. Padding and dropped tokens do not count.
    """

    def __init__(self, model: VisionLanguageModel | NoisyModel, routing: Routing) -> None:
        self._model = model
        self._routing = routing
        self._kept: list[tuple[Tensor, Tensor]] = []

    @property
    def module(self) -> nn.Module:
        """The module of the model."""
        return self._model.module

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        """As `VisionLanguageModel` has it."""
        return self._keeping(rows.attention_mask, lambda: self._model.hidden_states(rows, images))

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        """As `VisionLanguageModel` has it, at every position, in the last layer, too."""
        whole = packed.read_everywhere()
        return self._keeping(packed.readers, lambda: self._model.packed_hidden_states(whole, images))

    def loss(self) -> Tensor:
        """The loss of all tokens, a number: about experts_per_token if the load is even.

        It is the number of experts times the sum, over experts, of the share of tokens that an expert gets and the mean
        probability that the router gives it, both over all layers together.
        """
        sums = [self._sums(logits, weights) for logits, weights in self._kept]
        tokens, probabilities, total = (torch.stack(each).sum(dim=0) for each in zip(*sums, strict=True))
        loss: Tensor = len(tokens) * (tokens / total * probabilities / total).sum()
        return loss

    def _sums(self, logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of one layer: the tokens and the probability of each expert, ``(experts,)`` both, and the tokens of all."""
        weights = to_device(weights.flatten(), logits.device).to(torch.float32)
        probabilities = logits.softmax(dim=-1).float()
        chosen = probabilities.topk(self._routing.experts_per_token, dim=-1).indices
        tokens = torch.zeros_like(probabilities[0]).index_add(
            0, chosen.flatten(), weights.repeat_interleave(chosen.shape[-1])
        )
        return tokens, weights @ probabilities, weights.sum()

    def _keeping(self, weights: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        with returned_by(self._routing.routers, self._routing.output) as outputs:
            hidden = compute()
        self._kept += [(logits, weights) for logits in outputs]
        return hidden
