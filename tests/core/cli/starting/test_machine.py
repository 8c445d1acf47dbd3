"""What `mdpo check` says of missing libraries, which are problems, and of missing devices, which are none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from support.paths import RECIPES

from mdpo_core import Optimizer, PluginError, RecipeError, Tracker, load_recipe, register
from mdpo_core.cli import main
from mdpo_core.cli.starting.machine import lacks, require_libraries

RECIPE = RECIPES / "quickstart.yaml"
WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


class Unreachable(Tracker):
    """Its library is not there."""

    def check(self) -> None:
        raise PluginError("the tracker 'unreachable' needs nothing.that.exists: pip install it")

    def start(self, folder: Path) -> None:  # type: ignore[override]
        raise AssertionError("a check starts no tracker")


class Unfinished(Optimizer):
    """Needs a library on every device."""

    def check(self, device: str) -> None:
        raise RecipeError("train.optimizer: unfinished needs a package that is not installed")

    def start(self, weights, train, device):  # type: ignore[no-untyped-def]
        raise AssertionError("a check trains nothing")


class OnCuda(Unfinished):
    """Needs CUDA."""

    def check(self, device: str) -> None:
        if not device.startswith("cuda"):
            raise RecipeError(f"train.optimizer: on_cuda needs CUDA, and this run trains on '{device}'")


@pytest.fixture(autouse=True)
def components(own_registry: None) -> None:
    register("unreachable", Unreachable)
    register("unfinished", Unfinished)
    register("on_cuda", OnCuda)


def check(capsys: pytest.CaptureFixture[str], *changes: str, data: bool = False) -> tuple[int, str, str]:
    words = [word for change in changes for word in ("--set", change)]
    code = main(["check", "quickstart", *(["--data"] if data else []), *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_missing_libraries_are_problems() -> None:
    changes = ["train.optimizer=unfinished", "trackers=[{tracker: curves}, {tracker: unreachable}]"]
    with pytest.raises(RecipeError) as error:
        require_libraries(load_recipe(RECIPE, changes))
    assert str(error.value).splitlines() == [
        "train.optimizer: unfinished needs a package that is not installed",
        "trackers.1: the tracker 'unreachable' needs nothing.that.exists: pip install it",
    ]


@WITHOUT_CUDA
def test_an_optimizer_that_another_machine_could_run_is_no_problem() -> None:
    recipe = load_recipe(RECIPE, ["train.optimizer=on_cuda"])
    require_libraries(recipe)
    reason = "train.optimizer: on_cuda needs CUDA, and this run trains on 'cpu'"
    assert list(lacks(recipe)) == [f"  note       not on this machine: {reason}"]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
@pytest.mark.parametrize("data", [False, True])
def test_check_refuses_an_optimizer_whose_library_is_missing(data: bool, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, "train.optimizer=adamw_8bit", data=data)
    assert code == 2
    assert "no problem found" not in out
    assert "adamw_8bit needs bitsandbytes, which is not installed: pip install" in err


@WITHOUT_CUDA
def test_a_missing_device_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["backend.precision=fp16_autocast", "data.num_pairs=64", "train.max_steps=3"]
    code, out, _ = check(capsys, *words, data=True)
    assert code == 0
    assert (
        "  note       not on this machine: backend.precision: fp16_autocast needs CUDA, and this run trains on" in out
    )
    assert "no problem found" in out
    code, out, _ = check(capsys, *words)
    assert code == 0
    assert "not looked at: rows, pictures, the model's files and this machine's devices" in out
