"""Whole runs with each optimizer: killed and resumed to the byte; refused before a model is loaded."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from mdpo_digits import DigitsAdapter
from support.effort import nightly_but
from support.paths import LLAVA_MDPO, RECIPES
from support.processes.launching import begin, contents, launch, records, require_same_training, wait_for_step

from mdpo_core import Placement, RecipeError, load_recipe, run


@pytest.mark.parametrize(
    "name", nightly_but(["muon"], ["adafactor", "muon"], "as muon, which has two kinds of state", pytest.mark.long)
)
def test_a_killed_run_ends_as_one_that_nothing_stopped(name: str, changes: list[str], tmp_path: Path) -> None:
    chosen = [*changes, f"train.optimizer={name}", "train.weight_decay=0.1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(load_recipe(LLAVA_MDPO, chosen), run_dir=whole)
    with begin(chosen, killed) as process:
        wait_for_step(process, killed, 3)
        process.send_signal(signal.SIGKILL)
    assert 3 <= len(records(killed)) < 6
    run(load_recipe(LLAVA_MDPO, chosen), run_dir=killed, resume=True)
    assert contents(killed / "final") == contents(whole / "final")
    newest = "checkpoints/step-000006"
    assert contents(killed / newest) == contents(whole / newest)
    assert [record["loss"] for record in records(killed)] == [record["loss"] for record in records(whole)]


@pytest.mark.nightly(reason="one process shows each optimizer; `plugins/local/test_engine.py` shows two with AdamW")
def test_two_processes_train_as_one_and_resume_to_the_byte(changes: list[str], tmp_path: Path) -> None:
    options = ["train.optimizer=muon", "model.lora.dropout=0.0", "backend.device=cpu", "train.micro_batch_size=1"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert launch([*changes, *options], one).returncode == 0
    assert launch([*changes, *options], two, "--processes", "2").returncode == 0
    require_same_training(one, two, 2e-2)
    before = contents(two / "final")
    for later in ("final", "checkpoints/step-000006"):
        shutil.rmtree(two / later)
    assert launch([*changes, *options], two, "--processes", "2", "--resume").returncode == 0
    assert contents(two / "final") == before


def test_another_optimizer_does_not_continue_a_run(small: list[str], tmp_path: Path) -> None:
    run(load_recipe(LLAVA_MDPO, [*small, "train.max_steps=1"]))
    with pytest.raises(RecipeError, match=r"holds the run of another recipe.*\n  train\.optimizer"):
        run(load_recipe(LLAVA_MDPO, [*small, "train.max_steps=1", "train.optimizer=adafactor"]), resume=True)


class Frozen(DigitsAdapter):
    """The tiny LLaVA, of which only norms and biases train."""

    def sketch(self, *args: Any, **options: Any) -> Any:
        model = super().sketch(*args, **options)
        for value in model.module.parameters():
            value.requires_grad_(value.ndim < 2)
        return model

    def load(self, placement: Placement, *, trainable: bool = True) -> Any:
        raise AssertionError("the model is loaded")


class Loads(DigitsAdapter):
    """The tiny LLaVA, which must not be loaded."""

    def load(self, placement: Placement, *, trainable: bool = True) -> Any:
        raise AssertionError("the model is loaded")


@pytest.mark.parametrize(
    ("adapter", "name", "message"),
    [
        (Frozen, "muon", "'muon' is for matrices of hidden layers, and none of this model's trains"),
        (Loads, "adamw_8bit", "adamw_8bit needs (bitsandbytes|CUDA)"),
        (Loads, "paged_adamw_8bit", "paged_adamw_8bit needs (bitsandbytes|CUDA)"),
    ],
)
def test_it_is_refused_before_the_model_is_loaded(adapter: type, name: str, message: str, tmp_path: Path) -> None:
    adapter.set_component_name(adapter.__name__)  # type: ignore[attr-defined]
    changes = {
        "train.optimizer": name,
        "model": adapter(),
        "backend.device": "cpu",
        "data.num_pairs": 64,
        "output.dir": str(tmp_path / "run"),
    }
    with pytest.raises(RecipeError, match=f"train.optimizer: {message}"):
        run(load_recipe(RECIPES / "quickstart.yaml", changes))
