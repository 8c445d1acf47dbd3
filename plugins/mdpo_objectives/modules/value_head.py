"""A head that predicts a reward. Importing this imports torch."""

from __future__ import annotations

from torch import Tensor, nn


class ValueHead(nn.Module):
    """A linear map from detached hidden states ``(tokens, layers, width)`` to ``(tokens, 1)``; it gives 0 at first."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """The values ``(tokens, 1)`` of ``states (tokens, layers, width)``."""
        values: Tensor = self.linear(states.detach().flatten(1))
        return values
