"""The local backend in several processes, against one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.processes.parallel_jobs import (
    Job,
    exchanges,
    numbers,
    require_alike,
    require_same_state,
    run_in_parallel,
    run_job,
)

from mdpo_core import RecipeError, Train, World, component

LOCAL = {"name": "local", "device": "cpu"}
LORA = {"lora": {"rank": 4, "dropout": 0.0}}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {"share_prefix": False}),
    "full": ({}, {"activation_checkpointing": "full"}),
    "vision": ({"freeze": ["language"]}, {}),
    "rates": (
        {"freeze": [], "parts": {"vision": {"learning_rate": 3e-5}, "projector": {"learning_rate": 1e-3}}},
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
    ),
    "tower": ({**LORA, "parts": {"vision": {"train": "full", "learning_rate": 1e-4}}}, {}),
}


# Of the others, each way to train is also in one of these.
IN_LONG = ("lora", "full", "rates", "parts")


def job_of(llava: Path, name: str, shape: str, **options: Any) -> Job:
    model, scoring = SHAPES[shape]
    return Job(name, LOCAL, {"path": str(llava), **model}, scoring, **options)


@pytest.fixture(scope="module")
def folder(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes of training, in one process and in two; of LoRA in two, also in halves."""
    folder = tmp_path_factory.mktemp("ddp")

    def job(name: str, shape: str, **options: Any) -> Job:
        return job_of(llava, name, shape, **options)

    for shape in IN_LONG:
        run_job(job(f"one/{shape}", shape), folder)
    shapes = [job(f"two/{shape}", shape) for shape in IN_LONG]
    halves = [job("half", "full", steps=(0, 1)), job("resumed", "full", steps=(2, 3), start="half")]
    halves += [
        job("half parts", "parts", steps=(0, 1)),
        job("resumed parts", "parts", steps=(2, 3), start="half parts"),
    ]
    broken = job("broken", "full", steps=(0, 1, 2), broken=2)
    run_in_parallel([*shapes, *halves, broken, job("counted", "lora", steps=(0, 1), counts=True)], folder)
    run_job(job("alone", "full", steps=(2, 3), start="half"), folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("shape", IN_LONG)
def test_two_processes_train_as_one_does(shape: str, folder: Path) -> None:
    require_alike(folder / "two" / shape, folder / "one" / shape)


@pytest.mark.nightly(reason="as four shapes in `long`, which train in each of their ways")
def test_two_processes_train_the_other_shapes_as_one_does(llava: Path, tmp_path: Path) -> None:
    others = [shape for shape in SHAPES if shape not in IN_LONG]
    for shape in others:
        run_job(job_of(llava, f"one/{shape}", shape), tmp_path)
    run_in_parallel([job_of(llava, f"two/{shape}", shape) for shape in others], tmp_path)
    for shape in others:
        require_alike(tmp_path / "two" / shape, tmp_path / "one" / shape)


@pytest.mark.long
def test_two_processes_resume_to_the_bit(folder: Path) -> None:
    require_same_state(folder / "resumed", folder / "two" / "full")
    require_same_state(folder / "resumed parts", folder / "two" / "parts")


@pytest.mark.long
def test_one_process_goes_on_where_two_stopped(folder: Path) -> None:
    require_same_state(folder / "alone", folder / "one" / "full", tolerance=1e-5)


@pytest.mark.long
def test_each_process_writes_its_share_of_the_state(folder: Path) -> None:
    sizes = [file.stat().st_size for file in (folder / "half").glob("*.safetensors")]
    assert len(sizes) == 2
    assert min(sizes) > 0.2 * sum(sizes)


@pytest.mark.long
def test_gradients_travel_once_a_step(folder: Path) -> None:
    trained = sum(values.numel() for name, values in numbers(folder / "counted").items() if name.startswith("weight:"))
    for step in exchanges(folder / "counted"):
        # A small one is about which parameters were used.
        [times, size] = step["allreduce_"]
        assert times == 2
        assert size < 1.01 * trained


@pytest.mark.long
def test_no_process_updates_if_the_loss_of_one_is_not_a_number(folder: Path) -> None:
    require_same_state(folder / "broken", folder / "half")


def test_one_device_is_not_given_to_several_processes() -> None:
    backend = component("backend", "local", device="cuda:1")
    with pytest.raises(RecipeError, match=r"backend.device: 'cuda:1' is one device, but each of 2 processes"):
        backend.check(Train(), World(size=2, local_size=2))
    component("backend", "local", device="cpu").check(Train(), World(size=99, local_size=99))


@pytest.mark.nightly(reason="two processes resume to the bit in the tests of each backend")
@pytest.mark.parametrize("backend", [LOCAL, {"name": "fsdp"}], ids=["local", "fsdp"])
def test_four_processes_resume_to_the_bit(backend: dict[str, Any], llava: Path, tmp_path: Path) -> None:
    straight = Job("straight", backend, {"path": str(llava)})
    half = replace(straight, name="half", steps=(0, 1))
    resumed = replace(straight, name="resumed", steps=(2, 3), start="half")
    run_in_parallel([straight, half, resumed], tmp_path, processes=4)
    require_same_state(tmp_path / "resumed", tmp_path / "straight")


@pytest.mark.nightly(reason="compiled layers in one process: tests/core/scoring/test_compilation.py")
@pytest.mark.parametrize("backend", [LOCAL, {"name": "fsdp"}], ids=["local", "fsdp"])
@pytest.mark.parametrize("model", [LORA, {"freeze": []}], ids=["lora", "full"])
def test_two_processes_train_compiled_layers_as_one_trains_plain_ones(
    model: dict[str, Any], backend: dict[str, Any], llava: Path, tmp_path: Path
) -> None:
    plain = Job("plain", LOCAL, {"path": str(llava), **model})
    run_job(plain, tmp_path)
    run_in_parallel([replace(plain, name="compiled", backend=backend, scoring={"compile": True})], tmp_path)
    require_alike(tmp_path / "compiled", tmp_path / "plain", tolerance=1e-3)
