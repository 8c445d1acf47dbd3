"""Modules that turn hidden states into masks. Importing this imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedMasks(nn.Module):
    """A linear map and a ReLU for each layer, and their mean, limited to 1.

    It maps hidden states ``(tokens, layers, width)`` to masks ``(tokens, masks)``.
    """

    def __init__(self, masks: int, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers, width, masks))
        self.bias = nn.Parameter(torch.ones(layers, masks))

    def forward(self, states: Tensor) -> Tensor:
        """The masks ``(tokens, masks)`` for ``states (tokens, layers, width)``."""
        # Hidden states grow from the first layer to the last; this gives all layers the same scale.
        states = nn.functional.layer_norm(states, states.shape[-1:])
        logits = torch.einsum("tlw,lwm->tlm", states, self.weight) + self.bias
        mean = logits.relu().mean(dim=1)
        # A clamp would have no gradient above 1. Masks begin at 1, and a mask above 1 must be able to fall.
        return mean - (mean - 1).relu().detach()


class MeanActivations(nn.Module):
    """The mean activation of each layer; from ``(tokens, layers, width)`` to ``(tokens, layers)``."""

    def forward(self, states: Tensor) -> Tensor:
        """The means ``(tokens, layers)`` of ``states (tokens, layers, width)``."""
        return states.mean(dim=-1)
