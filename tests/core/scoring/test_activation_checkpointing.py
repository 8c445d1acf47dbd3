"""Which layers are computed again in backward, by counting their forwards."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from mdpo_core.scoring.activation_checkpointing import recompute_in_backward


class Counted(nn.Linear):
    """A layer that counts its forwards."""

    forwards = 0

    def forward(self, input: Tensor) -> Tensor:
        self.forwards += 1
        return super().forward(input)


@pytest.mark.parametrize(
    ("which", "forwards"),
    [("off", [1, 1, 1, 1, 1]), ("full", [2, 2, 2, 2, 2]), (2, [2, 1, 2, 1, 2]), (3, [2, 1, 1, 2, 1])],
)
def test_every_nth_layer_runs_again_in_backward(which: Literal["off", "full"] | int, forwards: list[int]) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(*[Counted(4, 4) for _ in range(5)])
    inputs = torch.randn(3, 4)
    layers(inputs).square().sum().backward()
    expected = [layer.weight.grad.clone() for layer in layers]
    layers.zero_grad()
    for layer in layers:
        layer.forwards = 0
    recompute_in_backward(list(layers), which)
    layers(inputs).square().sum().backward()
    assert [layer.forwards for layer in layers] == forwards
    for layer, gradient in zip(layers, expected, strict=True):
        torch.testing.assert_close(layer.weight.grad, gradient, rtol=0, atol=0)
