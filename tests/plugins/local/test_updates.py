"""How far weights move at a small learning rate, in each precision of the backends that update them in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_fsdp import FSDP
from mdpo_fsdp.sharding import Sharding
from mdpo_local import Local
from mdpo_local.engine import LocalEngine
from torch import Tensor, nn

from mdpo_core import Backend, Engine, SavedEngineState, Train, TrainableScorer, World, place_step_count
from mdpo_core.types.engine_state import write_state

STEPS, RATE = 20, 5e-7  # the rate of the recipes that train all weights
TRAIN = Train(learning_rate=RATE, max_grad_norm=None)


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


def take_steps(engine: Engine, number: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        batch: Any = torch.randn(8, 64, generator=generator)
        outputs: Any = engine.forward(batch)
        engine.backward(outputs.float().square().sum())
        engine.step(RATE)


def moved(backend: Backend) -> Tensor:
    """What training adds to the weights, from the same gradients in each precision but for their rounding."""
    model = Layered()
    before = model.layer.weight.detach().clone().bfloat16().float()
    with torch.no_grad():
        model.layer.weight.copy_(before)
    model.to(getattr(torch, backend.placement().dtype))
    engine = backend.start(TrainableScorer(model, model), TRAIN)
    take_steps(engine, STEPS)
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


def local_as_on_cuda() -> Engine:
    """The engine for a GPU, with weights that are still on the CPU."""
    model = Layered()
    return LocalEngine(TrainableScorer(model, model), TRAIN, "cuda", None, World())


def fsdp_as_on_cuda() -> Engine:
    model = Layered()
    return FSDP().start(TrainableScorer(model, model), TRAIN)


@pytest.mark.parametrize("start", [local_as_on_cuda, fsdp_as_on_cuda])
def test_on_cuda_updates_are_fused_and_resume_to_the_bit(
    start: Callable[[], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused: list[Any] = []

    class Recorded(torch.optim.AdamW):
        def __init__(self, *groups: Any, **options: Any) -> None:
            super().__init__(*groups, **options)
            fused.append(options["fused"])

    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    monkeypatch.setattr(Sharding, "updates_on_cuda", True)
    straight, resumed = start(), start()
    assert fused == [True, True]
    take_steps(straight, 2)
    write_state(straight.state(), tmp_path / "state.safetensors")
    resumed.restore(SavedEngineState([tmp_path / "state.safetensors"]))
    for engine in (straight, resumed):
        take_steps(engine, 2, seed=2)
    for one, other in zip(straight.state(), resumed.state(), strict=True):
        assert one.name == other.name
        assert one.values.equal(other.values), one.name


def test_a_fused_optimizer_counts_steps_on_the_parameter_s_device() -> None:
    parameter, count = nn.Parameter(torch.zeros(2, device="meta")), torch.tensor(3.0)
    plain, fused = torch.optim.AdamW([parameter]), torch.optim.AdamW([torch.zeros(2)], fused=True)
    assert place_step_count(plain, count, parameter) is count
    assert place_step_count(fused, count, parameter).device == parameter.device


def test_offloaded_weights_are_updated_on_the_cpu() -> None:
    settings = {"mixed": False, "reshard_after_forward": True}
    sharding = Sharding("cpu", **settings, offload=True)
    assert not sharding.updates_on_cuda
    sharding.device = torch.device("cuda")
    assert not sharding.updates_on_cuda
    sharding = Sharding("cpu", **settings, offload=False)
    assert not sharding.updates_on_cuda
    sharding.device = torch.device("cuda")
    assert sharding.updates_on_cuda
