"""Modules whose weights would be read without a call."""

from __future__ import annotations

import pytest
import torch
from mdpo_vlm.forward.called_once import call_once
from torch import Tensor, nn


class Head(nn.Module):
    """As SigLIP's: a learned question to all patches."""

    def __init__(self, by_name: bool) -> None:
        super().__init__()
        self.by_name = by_name
        self.probe = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, states: Tensor) -> Tensor:
        asked = self.probe.expand(len(states), -1, -1)
        if self.by_name:
            return self.attention(query=asked, key=states, value=states)[0]  # type: ignore[no-any-return]
        return self.attention(asked, states, states)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_output_layer_of_attention_is_called_with_the_same_numbers(
    by_name: bool, training: bool, with_gradient: bool
) -> None:
    torch.manual_seed(0)
    head, states, calls = Head(by_name).train(training), torch.randn(3, 5, 8), []
    with torch.set_grad_enabled(with_gradient):
        expected = head(states)
        head.attention.out_proj.register_forward_hook(lambda *_: calls.append(1))
        call_once(head)  # type: ignore[arg-type]  # it looks at modules alone
        torch.testing.assert_close(head(states), expected, rtol=0, atol=1e-6)
    assert calls
