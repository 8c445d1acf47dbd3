"""Modules that turn hidden states into masks. Importing this imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedMasks(nn.Module):
    """A linear map and a ReLU for each layer, averaged; ``(tokens, layers, width)`` to ``(tokens, masks)``, 0 to 1."""

    def __init__(self, masks: int, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers, width, masks))
        self.bias = nn.Parameter(torch.ones(layers, masks))

    def forward(self, states: Tensor) -> Tensor:
        """The masks ``(tokens, masks)`` for ``states (tokens, layers, width)``."""
        # Hidden states grow from the first layer to the last; this gives all layers the same scale.
        states = nn.functional.layer_norm(states, states.shape[-1:])
        each = torch.einsum("tlw,lwm->tlm", states, self.weight) + self.bias
        mean = each.relu().mean(dim=1)
        # Not a clamp: masks begin at 1, and a mask above it must be able to come back.
        return mean - (mean - 1).relu().detach()


class MeanActivations(nn.Module):
    """Each layer's mean; ``(tokens, layers, width)`` to ``(tokens, layers)``."""

    def forward(self, states: Tensor) -> Tensor:
        """The means ``(tokens, layers)`` of ``states (tokens, layers, width)``."""
        return states.mean(dim=-1)
