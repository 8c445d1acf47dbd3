"""Which device a process computes on, with accelerators that this machine only seems to have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.paths import RECIPES
from torch import distributed
from torch.torch_version import TorchVersion

from mdpo_core import RecipeError, Train, World, component, load_recipe, local_device, require_devices, run
from mdpo_core.processes.devices import peak_reserved_memory, use_expandable_segments

Pretend = Callable[[str, int], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Let torch find accelerators of a kind, so many of them."""

    def found(kind: str, number: int) -> None:
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: number)
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: kind == "cuda")

    return found


def test_more_processes_than_devices_are_refused(pretend: Pretend) -> None:
    pretend("cuda", 2)
    require_devices(World(rank=1, size=2, local_rank=1, local_size=2))
    require_devices(World(rank=7, size=8, local_rank=1, local_size=2))
    with pytest.raises(RecipeError, match="4 processes on this machine, which has 2 devices; start one process"):
        require_devices(World(rank=0, size=4, local_rank=0, local_size=4))


@pytest.mark.parametrize(("kind", "device"), [("cuda", "cuda"), ("xpu", "xpu"), ("mps", "cpu"), ("hpu", "cpu")])
def test_only_kinds_with_float64_are_taken_unasked(kind: str, device: str, pretend: Pretend) -> None:
    pretend(kind, 2)
    assert local_device(World()) == device
    expected = "cpu" if device == "cpu" else f"{kind}:1"
    assert local_device(World(rank=1, size=2, local_rank=1, local_size=2)) == expected
    # Processes need no devices if they compute on the CPU.
    if device == "cpu":
        require_devices(World(rank=3, size=4, local_rank=3, local_size=4))


@pytest.mark.long
def test_a_run_ignores_an_accelerator_without_float64(pretend: Pretend, small: list[str]) -> None:
    """As on a Mac: torch finds MPS. No test machine has it, so a run that takes it fails here, too."""
    pretend("mps", 1)
    assert run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, "train.epochs=1"])).final.is_dir()


def test_a_device_without_float64_is_refused_before_loading(pretend: Pretend) -> None:
    pretend("mps", 1)
    with pytest.raises(RecipeError, match=r"backend.device: 'mps' cannot add up in float64, .*; use 'cpu'$"):
        component("backend", "local", device="mps").placement()


def test_a_device_that_is_not_there_is_one_sentence(pretend: Pretend) -> None:
    pretend("cuda", 2)
    with pytest.raises(RecipeError, match=r"backend.device: 'cuda:2' is not on this machine, where torch finds 2 such"):
        component("backend", "local", device="cuda:2").placement()


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        (
            "cuda:7",
            r"'cuda:7' needs a torch for CUDA; torch 2.* was built without: install another build, or use 'auto'",
        ),
        ("mps", "'mps' is not on this machine, where torch finds 0 such devices; use 'auto'"),
        ("xpu:1", "'xpu:1' is not on this machine, where torch finds 0 such devices; use 'auto'"),
        ("npu", "this torch does not know 'npu'; use 'auto'"),
    ],
)
def test_a_device_that_this_torch_lacks_is_refused_before_anything_is_read(
    device: str, sentence: str, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(RecipeError, match=f"^backend.device: {sentence}$"):
        run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, f"backend.device={device}"]))
    assert not Path(small[-1].removeprefix("output.dir=")).exists()


@pytest.mark.parametrize(
    "device", ["cuda:-1", "cuda:x", "cuda:", "gpu", "cuda:1234", "cpu:0", "CUDA", "cuda:\u0661", "auto\n"]
)
def test_what_is_not_a_device_is_refused_with_those_that_are(device: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", [f'backend.device="{device}"'])
    assert "backend.device: not a device: write auto, cpu, or an accelerator such as cuda or cuda:0" in str(
        caught.value
    )


def test_the_chosen_device_becomes_the_current_one(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("cuda", 2)
    current: list[int] = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", current.append)
    backend = component("backend", "local", device="cuda:1")
    backend.check(Train(), World())
    assert backend.placement().device == "cuda:1"
    assert current == [1]


THIRD = World(rank=3, size=4, local_rank=3, local_size=4)


def gathered(monkeypatch: pytest.MonkeyPatch, own: str, others: list[str | None]) -> None:
    """Let this process see one device, and the other processes theirs."""
    properties = SimpleNamespace(get_device_properties=lambda index: SimpleNamespace(uuid=own))
    monkeypatch.setattr(torch, "get_device_module", lambda kind: properties)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(World, "gather", lambda self, value: [*others, value])


def test_each_process_may_see_one_device_of_its_own(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SLURM's --gpus-per-task=1 does."""
    pretend("cuda", 1)
    gathered(monkeypatch, "GPU-3", ["GPU-0", "GPU-1", "GPU-2"])
    require_devices(THIRD)
    assert local_device(THIRD) == "cuda:0"


@pytest.mark.parametrize("others", [["GPU-3", "GPU-3", "GPU-3"], ["GPU-0", "GPU-1", None]])
def test_one_device_for_several_processes_is_refused(
    others: list[str | None], pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("cuda", 1)
    gathered(monkeypatch, "GPU-3", others)
    with pytest.raises(RecipeError, match="4 processes on this machine, which has 1 device; start one"):
        require_devices(THIRD)


@pytest.mark.parametrize(
    ("version", "name"), [("2.8.0", "PYTORCH_CUDA_ALLOC_CONF"), ("2.13.0+cu130", "PYTORCH_ALLOC_CONF")]
)
def test_segments_expand_unless_the_user_has_set_options(
    version: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(os, "environ", environment := dict[str, str]())
    use_expandable_segments()
    assert environment == {}  # this torch has no CUDA
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    use_expandable_segments()
    assert environment == {name: "expandable_segments:True"}
    environment.clear()
    environment["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:64"
    use_expandable_segments()
    assert environment == {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}


def test_reserved_memory_is_that_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3_000_000_000)
    assert peak_reserved_memory(torch.device("cuda", 0)) == 3.0
    assert peak_reserved_memory(torch.device("cpu")) is None
