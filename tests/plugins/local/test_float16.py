"""float16 in the local backend: its factor, on a CPU, where a backend that does not refuse it computes the same.

Nothing here ran on CUDA. `core/scoring/test_pretended_device.py` shows where the tensors are.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_local import Local
from mdpo_local.engine import LocalEngine
from support.paths import LLAVA_MDPO
from support.processes.launching import contents, records
from torch import Tensor, nn

from mdpo_core import MdpoError, RecipeError, SavedEngineState, Train, TrainableScorer, World, load_recipe, run
from mdpo_core.types.engine_state import write_state

TRAIN = Train(learning_rate=0.1, max_grad_norm=None)


class Line(nn.Module):
    """A weight of 4 numbers, multiplied in the arithmetic of the moment; its gradient is the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 4))

    @property
    def module(self) -> nn.Module:
        return self

    def layers(self) -> list[nn.Module]:
        return []

    def parts(self) -> dict[Any, tuple[str, ...]]:
        return {}

    def forward(self, batch: Tensor) -> Tensor:
        return nn.functional.linear(batch, self.weight)


def engine(world: World | None = None) -> LocalEngine:
    model = Line()
    scorer = TrainableScorer(model, model)
    return LocalEngine(scorer, TRAIN, "cpu", torch.float16, world or World(), scales=True)


def step(of: LocalEngine, size: float) -> float:
    batch: Any = torch.full((1, 4), size)
    outputs: Any = of.forward(batch)
    of.backward(outputs.float().sum() / 4)  # else the factor itself would be too large
    return of.step(TRAIN.learning_rate)


def weights(of: LocalEngine) -> Tensor:
    return next(each.values for each in of.state() if each.name == "weight:weight").clone()


def factor(of: LocalEngine) -> float:
    return float(next(each.values for each in of.state() if each.name == "engine:scale"))


def test_small_gradients_survive_by_the_factor() -> None:
    tiny = 2.0**-24  # a quarter of it is 0 in float16
    scaled, plain = engine(), engine()
    plain._factor = None
    assert step(plain, tiny) == 0
    assert step(scaled, tiny) == tiny / 2  # the norm of four equal numbers
    assert factor(scaled) == 65536


def test_an_overflow_skips_the_step_and_halves_the_factor() -> None:
    one = engine()
    before = weights(one)
    assert step(one, 8.0) == math.inf
    assert weights(one).equal(before)
    assert factor(one) == 32768
    while step(one, 8.0) == math.inf:
        assert weights(one).equal(before)
    assert factor(one) == 16384  # with 32768, a gradient would be 65536, and float16 ends at 65504
    assert not weights(one).equal(before)


def test_what_no_factor_helps_is_an_error() -> None:
    one = engine()
    norms = [step(one, math.inf) for _ in range(18)]
    assert norms[:16] == [math.inf] * 16
    assert all(map(math.isnan, norms[16:]))


def test_the_factor_resumes_to_the_bit_and_only_the_main_process_saves_it(tmp_path: Path) -> None:
    straight, resumed, file = engine(), engine(), tmp_path / "state.safetensors"
    for size in (8.0, 8.0, 0.1, 0.2):
        step(straight, size)
    write_state(straight.state(), file)
    saved = SavedEngineState([file])
    resumed.restore(saved)
    saved.require_all_read()
    for size in (8.0, 0.5):
        assert step(straight, size) == step(resumed, size)
    pieces = [{each.name: each.values.tolist() for each in of.state()} for of in (straight, resumed)]
    assert pieces[0] == pieces[1]
    assert {"engine:scale", "engine:growth"} <= pieces[0].keys()


def test_a_run_in_another_precision_does_not_read_the_factor(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    write_state(engine().state(), file)
    model, saved = Line(), SavedEngineState([file])
    LocalEngine(TrainableScorer(model, model), TRAIN, "cpu", None, World()).restore(saved)
    saved.require_all_read()


@pytest.mark.parametrize("precision", ["fp16", "fp16_autocast"])
def test_a_cpu_refuses_it(precision: Any) -> None:
    other = precision.replace("fp16", "bf16")
    with pytest.raises(RecipeError, match=f"precision: {precision} needs CUDA, .* 'cpu'; use {other} or fp32"):
        Local(device="cpu", precision=precision).check(TRAIN, World())


def test_weights_in_float16_do_not_train_in_full() -> None:
    with pytest.raises(RecipeError, match=r"fp16 keeps trained weights in float16, where most .* use fp16_autocast"):
        load_recipe(LLAVA_MDPO, ["model.lora=null", "model.freeze=[]", "backend.precision=fp16"])
    assert Local(precision="fp16_autocast").refuses_full_training == ""


class OnCPU(Local):
    """The local backend, which does not refuse float16 on a CPU."""

    def check(self, train: Train, world: World) -> None:
        return


@pytest.mark.parametrize(
    ("precision", "weight"),
    [
        pytest.param("fp16", 2.0, marks=pytest.mark.long),
        pytest.param("fp16_autocast", 30.0, marks=pytest.mark.nightly(reason="as fp16, by the same factor")),
    ],
)
def test_a_run_skips_overflows_says_so_and_resumes_to_the_byte(
    precision: Any, weight: float, changes: list[str], tmp_path: Path
) -> None:
    OnCPU.set_component_name("on_cpu")
    lora = [] if precision == "fp16" else ["model.lora=null", "model.freeze=[]"]
    # Losses so large that gradients overflow under the first factor, and under few others.
    recipe = load_recipe(LLAVA_MDPO, [*changes, *lora, f"objective.*.weight={weight}"]).with_(
        {"backend": OnCPU(device="cpu", precision=precision)}
    )
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(recipe, run_dir=whole)
    lines = records(whole)
    skipped = [line["skipped_updates"] for line in lines]
    assert skipped[0] == 1
    assert 0 in skipped[1:]
    assert [("grad_norm" in line) for line in lines] == [each == 0 for each in skipped]
    shutil.copytree(whole, resumed)
    for later in ("final", "checkpoints/step-000006"):
        shutil.rmtree(resumed / later)
    run(recipe, run_dir=resumed, resume=True)
    assert contents(resumed / "final") == contents(whole / "final")
    assert contents(resumed / "checkpoints/step-000006") == contents(whole / "checkpoints/step-000006")


@pytest.mark.long
def test_gradients_beyond_float16_end_a_run(small: list[str], tmp_path: Path) -> None:
    OnCPU.set_component_name("on_cpu")
    recipe = load_recipe(LLAVA_MDPO, [*small, "objective.*.weight=1.0e30", "train.epochs=20"])
    with pytest.raises(MdpoError, match="without any factor, the gradients are still beyond 65504"):
        run(recipe.with_({"backend": OnCPU(device="cpu", precision="fp16_autocast")}))
