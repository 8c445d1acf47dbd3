"""How far weights move at a small learning rate, in each precision of the backends that update them in place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mdpo_fsdp import FSDP
from mdpo_local import Local
from torch import Tensor, nn

from mdpo_core import Backend, Train, TrainableScorer

STEPS, RATE = 20, 5e-7  # the rate of the recipes that train all weights


class Layer(nn.Linear):
    """A layer that computes in the type in which its weights are at that moment."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.to(self.weight.dtype))


class Layered(nn.Module):
    """One layer with weights as those of language models: normal, with a standard deviation of 0.02."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = Layer(64, 64, bias=False)
        nn.init.normal_(self.layer.weight, std=0.02)

    @property
    def module(self) -> nn.Module:
        return self

    def layers(self) -> list[nn.Module]:
        return [self.layer]

    def parts(self) -> dict[Any, tuple[str, ...]]:
        return {"vision": ()}

    def forward(self, batch: Tensor) -> Tensor:
        outputs: Tensor = self.layer(batch)
        return outputs


def moved(backend: Backend) -> Tensor:
    """What training adds to the weights, from the same gradients in each precision but for their rounding."""
    model = Layered()
    before = model.layer.weight.detach().clone().bfloat16().float()
    with torch.no_grad():
        model.layer.weight.copy_(before)
    model.to(getattr(torch, backend.placement().dtype))
    engine = backend.start(TrainableScorer(model, model), Train(learning_rate=RATE, max_grad_norm=None))
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        batch: Any = torch.randn(8, 64, generator=generator)
        outputs: Any = engine.forward(batch)
        engine.backward(outputs.float().square().sum())
        engine.step(RATE)
    (after,) = [each.values for each in engine.state() if each.name.startswith("weight:")]
    return after.float().reshape(64, 64) - before


@pytest.mark.parametrize(
    ("backend", "least", "most"),
    [
        (Local(device="cpu", precision="bf16_autocast"), 0.98, 1.02),
        (FSDP(precision="bf16_mixed"), 0.98, 1.02),
        # Why `precision: bf16` refuses weights that train in full.
        (Local(device="cpu", precision="bf16"), 0.0, 0.02),
        (FSDP(precision="bf16"), 0.0, 0.02),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.precision}" if isinstance(value, Backend) else "",
)
def test_weights_move_as_in_float32_or_hardly_at_all(backend: Backend, least: float, most: float) -> None:
    ours, exact = moved(backend), moved(Local(device="cpu"))
    assert least <= float(ours.abs().sum() / exact.abs().sum()) <= most
