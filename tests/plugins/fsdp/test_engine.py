"""The fsdp backend: its contract in one process, and two processes against one of the local backend."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.builders.tiny_models import Tiny, build
from support.processes.parallel_jobs import (
    Job,
    exchanges,
    numbers,
    require_alike,
    require_same_state,
    run_in_parallel,
    run_job,
)

from mdpo_core import RecipeError, Train, World, component, layers_of
from mdpo_core.testing import check_backend

LOCAL = {"name": "local", "device": "cpu"}
FSDP: dict[str, Any] = {"name": "fsdp"}
LORA = {"lora": {"rank": 4, "dropout": 0.0}}
# What differs: of the model, of scoring, of the backend.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {"activation_checkpointing": "full"}, {}),
    "lora_by_view": (LORA, {"share_prefix": False, "activation_checkpointing": 2}, {"reshard_after_forward": False}),
    "full": ({}, {"activation_checkpointing": "full"}, {}),
    "all_by_view": ({"freeze": []}, {"share_prefix": False, "max_logits": None}, {"exchange": "micro_batch"}),
    "vision": ({"freeze": ["language"]}, {}, {}),
    "rates": (
        {"freeze": [], "parts": {"vision": {"learning_rate": 3e-5}, "projector": {"learning_rate": 1e-3}}},
        {},
        {},
    ),
    "parts": (
        {
            "lora": {"rank": 4, "dropout": 0.0, "dora": True, "save": ["lm_head", "*norm"]},
            "parts": {
                "vision": {"train": "lora", "lora": {"rank": 2, "dropout": 0.0, "dora": True}, "learning_rate": 1e-3},
                "projector": {"train": "full", "learning_rate": 3e-5},
            },
        },
        {},
        {},
    ),
    "tower": ({**LORA, "parts": {"vision": {"train": "full", "learning_rate": 1e-4}}}, {}, {}),
}
# Of the others, each way to train and to score is also in one of these.
IN_LONG = ("lora", "full", "all_by_view", "parts")
COARSE = [("full", "bf16_mixed"), ("lora", "bf16")]
# How often the gradients of two layers and of the rest travel when a process has two micro-batches in a step.
TRAVELS = {"step": 3, "micro_batch": 6}


def job_of(llava: Path, name: str, shape: str, backend: dict[str, Any], **options: Any) -> Job:
    model, scoring, _ = SHAPES[shape]
    return Job(name, backend, {"path": str(llava), **model}, scoring, **options)


@pytest.fixture(scope="module")
def folder(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes of training in one process of the local backend and in two of this; one in halves, too."""
    folder = tmp_path_factory.mktemp("fsdp")

    def job(name: str, shape: str, backend: dict[str, Any], **options: Any) -> Job:
        return job_of(llava, name, shape, backend, **options)

    for shape in IN_LONG:
        run_job(job(f"one/{shape}", shape, LOCAL), folder)
    run_job(job("half local", "full", LOCAL, steps=(0, 1)), folder)
    shapes = [job(f"two/{shape}", shape, FSDP | SHAPES[shape][2]) for shape in IN_LONG]
    half = job("half", "full", FSDP, steps=(0, 1))
    resumed = [job(f"from {start}", "full", FSDP, steps=(2, 3), start=start) for start in ("half", "half local")]
    broken = job("broken", "full", FSDP, steps=(0, 1, 2), broken=2)
    coarse = [job(f"coarse {name}", name, FSDP | {"precision": precision}) for name, precision in COARSE]
    counted = [job(when, "full", FSDP | {"exchange": when}, steps=(0, 1), counts=True) for when in TRAVELS]
    everywhere = [
        job(f"everywhere {shape}", shape, FSDP | SHAPES[shape][2], everywhere=True) for shape in ("lora", "full")
    ]
    run_in_parallel([*shapes, half, *resumed, broken, *coarse, *counted, *everywhere], folder)
    for backend in (LOCAL, FSDP):
        run_job(job(f"into {backend['name']}", "full", backend, steps=(2, 3), start="half"), folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"reshard_after_forward": False}, {"exchange": "micro_batch"}])
def test_one_process_keeps_the_contract(options: dict[str, Any]) -> None:
    check_backend(component("backend", "fsdp", **options))  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("shape", IN_LONG)
def test_two_processes_train_as_one_of_the_local_backend_does(shape: str, folder: Path) -> None:
    require_alike(folder / "two" / shape, folder / "one" / shape)


@pytest.mark.nightly(reason="as four shapes in `long`, which train and score in each of their ways")
def test_two_processes_train_the_other_shapes_as_one_does(llava: Path, tmp_path: Path) -> None:
    others = [shape for shape in SHAPES if shape not in IN_LONG]
    for shape in others:
        run_job(job_of(llava, f"one/{shape}", shape, LOCAL), tmp_path)
    run_in_parallel([job_of(llava, f"two/{shape}", shape, FSDP | SHAPES[shape][2]) for shape in others], tmp_path)
    for shape in others:
        require_alike(tmp_path / "two" / shape, tmp_path / "one" / shape)


@pytest.mark.long
@pytest.mark.parametrize("shape", ["lora", "full"])
def test_weights_that_are_sent_are_those_that_all_read_to_the_bit(shape: str, folder: Path) -> None:
    require_alike(folder / "two" / shape, folder / f"everywhere {shape}", tolerance=0)


@pytest.mark.long
def test_two_processes_resume_to_the_bit(folder: Path) -> None:
    require_same_state(folder / "from half", folder / "two" / "full")


@pytest.mark.long
@pytest.mark.parametrize("other", ["into local", "into fsdp", "from half local"])
def test_another_backend_or_number_of_processes_goes_on(other: str, folder: Path) -> None:
    require_same_state(folder / other, folder / "one" / "full", tolerance=1e-5)


@pytest.mark.long
def test_each_process_remembers_half_of_what_trains(folder: Path) -> None:
    sizes = [sum(map(len, load_file(file).values())) for file in (folder / "half").glob("*.safetensors")]
    # Some tensors have an odd number of rows.
    assert max(sizes) == pytest.approx(min(sizes), rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("shape", [shape for shape, _ in COARSE])
def test_bfloat16_run_begins_as_reference_and_trains_in_float32(shape: str, folder: Path) -> None:
    """In bfloat16, policy and reference begin equal, and what trains stays in float32."""
    seen = json.loads((folder / f"coarse {shape}" / "seen.json").read_text())
    exact = json.loads((folder / "one" / shape / "seen.json").read_text())
    assert seen["steps"][0][0] == pytest.approx(3 * math.log(2), rel=1e-6)
    assert seen["steps"] != exact["steps"]
    assert seen["steps"] == [pytest.approx(step, rel=0.05) for step in exact["steps"]]
    assert {values.dtype for values in numbers(folder / f"coarse {shape}").values()} == {torch.float32}


@pytest.mark.long
@pytest.mark.parametrize("when", TRAVELS)
def test_gradients_travel_when_the_recipe_says(when: str, folder: Path) -> None:
    trained = sum(values.numel() for name, values in numbers(folder / when).items() if name.startswith("weight:"))
    for step in exchanges(folder / when):
        times, size = step["_reduce_scatter_base_"]
        assert times == TRAVELS[when]
        # Two processes share tensors with an odd number of rows as if there were one more.
        assert size == pytest.approx(trained * times / 3, rel=0.01)


@pytest.mark.long
def test_no_process_updates_if_the_loss_of_one_is_not_a_number(folder: Path) -> None:
    require_same_state(folder / "broken", folder / "half")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_offloading_needs_something_to_save() -> None:
    with pytest.raises(RecipeError, match=r"backend.offload: this machine has no accelerator"):
        component("backend", "fsdp", offload=True).check(Train(), World())
    component("backend", "fsdp").check(Train(), World())


@pytest.mark.parametrize("trains", ["lora", "all"])
def test_layers_are_those_of_language_model_and_vision_tower(trains: Any) -> None:
    model = build(Tiny(trains=trains)).model
    base = model._base.model
    assert layers_of(model) == [*base.language_model.layers, *base.vision_tower.encoder.layers]
