"""Whole runs, from a recipe file to a model that plain transformers loads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support.builders.small_llava import build_llava
from support.paths import RECIPES
from support.processes.launching import records
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import MdpoError, RecipeError, load_recipe, run
from mdpo_core.result import RunResult
from mdpo_core.training import trainer


@pytest.fixture(scope="module")
def finished(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run with LoRA; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return run(load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, f"output.dir={folder}"]))


def test_mdpo_begins_at_3_log_2_and_leaves_complete_directory(small: list[str], tmp_path: Path) -> None:
    small = [*small, "trackers=[{tracker: curves}]"]
    result = run(load_recipe(RECIPES / "llava_mdpo.yaml", small))
    steps = records(result.run_dir)
    assert steps[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-4)
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    there = {path.name for path in result.run_dir.iterdir()}
    assert there >= {"recipe.yaml", "manifest.json", "metrics.jsonl", "checkpoints", "final", "curves.png"}
    assert load_recipe(result.run_dir / "recipe.yaml") == load_recipe(RECIPES / "llava_mdpo.yaml", small)


def test_every_promised_metric_is_logged(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "peak_reserved_memory", lambda device: 2.5)  # as on CUDA
    record = records(run(load_recipe(RECIPES / "llava_mdpo.yaml", small)).run_dir)[0]
    promised = ["step", "epoch", "loss", "loss/text", "loss/picture", "loss/anchor", "rewards/chosen"]
    promised += ["rewards/rejected", "rewards/chosen@crop", "rewards/accuracy/text", "rewards/margin/picture"]
    promised += ["logps/chosen", "grad_norm", "learning_rate", "pairs_per_second", "tokens_per_second"]
    assert record.keys() >= {*promised, "data_wait", "memory_gb", "tflops", "mfu"}
    assert 0 < record["mfu"] < 1
    assert record["memory_reserved_gb"] == 2.5


def test_exported_adapter_loads_in_peft_with_trained_weights(finished: RunResult, llava: Path) -> None:
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(llava), finished.final)
    processor = AutoProcessor.from_pretrained(finished.final, backend="pil")
    saved = load_file(sorted((finished.run_dir / "checkpoints").iterdir())[-1] / "state-00000-of-00001.safetensors")
    loaded = {name: value for name, value in model.named_parameters() if "lora" in name}
    weights = {name: saved[f"weight:policy.{name}@0"] for name in loaded}
    assert len([name for name in saved if name.startswith("weight:")]) == len(weights)
    assert all(torch.equal(loaded[name].flatten(), value) for name, value in weights.items())
    assert any(value.abs().max() > 0 for name, value in loaded.items() if "lora_B" in name)
    assert processor.tokenizer.eos_token == "</s>"


def test_full_fine_tuning_exports_a_whole_model(small: list[str], llava: Path) -> None:
    small = [change for change in small if not change.startswith("model.lora")] + ["model.lora=null"]
    result = run(load_recipe(RECIPES / "llava_mdpo.yaml", small))
    before = AutoModelForImageTextToText.from_pretrained(llava).state_dict()
    after = AutoModelForImageTextToText.from_pretrained(result.final).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("vision_tower" in name for name in changed)
    assert any("multi_modal_projector" in name for name in changed)
    assert any("language_model" in name for name in changed)


# QLoRA needs CUDA (plugins/vlm/test_quantized.py), ZeRO-3 several processes (runs/test_processes.py); LLaVA-NeXT is
# another family (runs/test_whole_runs.py).
RUN_HERE = sorted(
    {str(path.relative_to(RECIPES)) for path in RECIPES.rglob("llava_*.yaml")}
    - {"llava_mdpo_qlora.yaml", "llava_mdpo_zero3.yaml", "models/llava_next_mdpo.yaml"}
)


# Beside the main recipe, the others differ in options that have tests of their own.
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.long] * (name != "llava_mdpo.yaml")) for name in RUN_HERE]
)
def test_every_llava_recipe_runs(recipe: str, small: list[str]) -> None:
    result = run(load_recipe(RECIPES / recipe, [*small, "train.epochs=1"]))
    terms = len(load_recipe(RECIPES / recipe).objective)
    assert records(result.run_dir)[0]["loss"] == pytest.approx(terms * math.log(2), abs=1e-4)
    assert (result.final / "adapter_model.safetensors").is_file()


@pytest.mark.long
def test_the_paper_s_run_works_at_336_pixels(small: list[str], tmp_path: Path) -> None:
    folder = build_llava(tmp_path / "llava336", image_size=336)
    result = run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, f"model.path={folder}", "train.epochs=1"]))
    assert records(result.run_dir)[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-4)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("bf16_autocast", marks=pytest.mark.long)])
def test_bfloat16_begins_at_three_times_log_2_too(precision: str, small: list[str]) -> None:
    result = run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, f"backend.precision={precision}"]))
    assert records(result.run_dir)[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-2)


def test_directory_of_another_recipe_is_refused_with_differences(changes: list[str], finished: RunResult) -> None:
    other = [*changes, f"output.dir={finished.run_dir}", "train.seed=1"]
    with pytest.raises(RecipeError, match=r"train\.seed: 0 there, 1 here"):
        run(load_recipe(RECIPES / "llava_mdpo.yaml", other), resume=True)


def test_directory_holding_the_run_is_refused_without_resume(changes: list[str], finished: RunResult) -> None:
    recipe = load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, f"output.dir={finished.run_dir}"])
    with pytest.raises(RecipeError, match=r"already holds this run \(newest checkpoint: step 6\).*resume=True"):
        run(recipe)
    assert run(recipe, resume=True) == finished


def test_nan_stops_run_names_examples_and_keeps_checkpoint(small: list[str], llava: Path) -> None:
    # A learning rate that throws the weights to infinity, from the second step on.
    changes = ["train.learning_rate=1.0e+30", "train.warmup_ratio=0", "output.save_every=1"]
    recipe = load_recipe(RECIPES / "llava_mdpo.yaml", [*small, *changes])
    with pytest.raises(MdpoError, match=r"step 2: the loss of example '\d+'.*is not finite \(in loss/text"):
        run(recipe)
    kept = [path.name for path in (recipe.output.dir / "checkpoints").iterdir()]
    assert kept == ["step-000001"]


def test_the_metrics_of_a_result_are_a_table(finished: RunResult) -> None:
    lines = records(finished.run_dir)
    assert finished.metrics["step"].tolist() == [line["step"] for line in lines]
    assert finished.metrics["loss"].tolist() == [line["loss"] for line in lines]
