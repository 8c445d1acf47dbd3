"""Recipes from LLaMA-Factory and ms-swift; the values are those of their own examples and defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mdpo_core import Recipe
from mdpo_core.cli.convert.command import converted
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import document_of

LLAMAFACTORY = {
    "model_name_or_path": "Qwen/Qwen3-VL-4B-Instruct",
    "stage": "dpo",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_target": "all",
    "pref_beta": 0.2,
    "dataset": "rlhf_v",
    "template": "qwen3_vl_nothink",
    "max_samples": 1000,
    "output_dir": "saves/a",
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "learning_rate": 5.0e-6,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "bf16": True,
    "val_size": 0.1,
    "eval_strategy": "steps",
    "eval_steps": 500,
    "resume_from_checkpoint": None,
}
SWIFT = """#!/bin/sh
# 4 * 50GiB
nproc_per_node=4

CUDA_VISIBLE_DEVICES=0,1,2,3 \\
NPROC_PER_NODE=$nproc_per_node \\
MAX_PIXELS=1003520 \\
swift rlhf \\
    --rlhf_type dpo \\
    --model Qwen/Qwen2.5-VL-7B-Instruct \\
    --dataset 'pairs.jsonl#200' \\
    --split_dataset_ratio 0.01 \\
    --gradient_accumulation_steps $(expr 16 / $nproc_per_node) \\
    --loss_type sigmoid bco_pair \\
    --loss_weights 0.8 0.2 \\
    --rpo_alpha 0.1 \\
    --deepspeed zero3_offload \\
    --save_steps 100
"""


def recipe_of(text: str, processes: int = 1) -> Recipe:
    return build_recipe(document_of(YAML(typ="safe", pure=True).load(text)), processes)


def from_yaml(folder: Path, options: dict[str, Any]) -> tuple[Recipe, list[str]]:
    (folder / "c.json").write_text(json.dumps(options))
    text, notes = converted(folder / "c.json", None, None, None)
    return recipe_of(text), notes


@pytest.mark.parametrize(("given", "expected"), [(0.001, 0.001), (0, None), (None, None)])
def test_the_loss_of_routers_is_taken_over(given: float | None, expected: float | None, tmp_path: Path) -> None:
    recipe, notes = from_yaml(tmp_path, LLAMAFACTORY | {"moe_aux_loss_coef": given})
    assert recipe.train.router_aux_loss_coef == expected
    assert not any("aux_loss" in note for note in notes)


def test_a_yaml_of_llama_factory_becomes_a_recipe_with_its_defaults(tmp_path: Path) -> None:
    recipe, notes = from_yaml(tmp_path, LLAMAFACTORY)
    made = recipe.to_dict()
    assert made["model"]["lora"] | {"rank": 8, "alpha": 16.0, "dropout": 0.0} == made["model"]["lora"]
    assert {part: each.mode for part, each in recipe.model.training.items()} == {
        "vision": "frozen",
        "projector": "frozen",
        "language": "lora",
    }
    assert made["model"]["max_length"] == 2048
    assert made["data"] | {"reader": "llamafactory", "path": "data", "dataset": "rlhf_v"} == made["data"]
    assert (made["data"]["split"], made["data"]["hold_out"]["share"]) == ("train[:1000]", 0.1)
    assert made["objective"][0] | {"loss": "dpo", "beta": 0.2, "label_smoothing": 0.0} == made["objective"][0]
    assert (recipe.train.batch_size, recipe.train.micro_batch_size, recipe.train.epochs) == (8, 1, 3)
    assert (recipe.train.schedule, recipe.train.warmup_ratio, recipe.train.seed) == ("cosine", 0.1, 42)
    assert recipe.evaluators[0].every == 500  # type: ignore[attr-defined]
    assert made["backend"]["precision"] == "bf16"
    assert [note.split(":")[0] for note in notes] == ["template"]


@pytest.mark.parametrize(
    ("options", "objective"),
    [
        ({"pref_loss": "orpo"}, [{"loss": "orpo", "lam": 0.2}]),
        ({"pref_loss": "simpo"}, [{"loss": "simpo", "beta": 0.2, "gamma": 0.5}]),
        ({"pref_loss": "ipo"}, [{"loss": "ipo", "tau": 0.2, "length_normalize": True}]),
        ({"pref_ftx": 0.3}, [{"loss": "dpo"}, {"anchor": "sft", "weight": 0.3}]),
        (
            {"pref_bco_weight": 1.0},
            [{"loss": "dpo", "weight": 0.5}, {"loss": "bco", "weight": 0.5, "shift": "running"}],
        ),
    ],
)
def test_preferences_of_llama_factory_become_terms(
    tmp_path: Path, options: dict[str, Any], objective: list[dict[str, Any]]
) -> None:
    made = from_yaml(tmp_path, LLAMAFACTORY | options)[0].to_dict()["objective"]
    assert len(made) == len(objective)
    assert all(expected.items() <= term.items() for expected, term in zip(objective, made, strict=True))


def test_several_data_sets_become_a_mixture_and_full_training_freezes_what_it_froze(tmp_path: Path) -> None:
    options = {"dataset": "one, two", "finetuning_type": "full", "freeze_multi_modal_projector": False}
    recipe, _ = from_yaml(tmp_path, LLAMAFACTORY | options)
    assert set(recipe.data.sources) == {"one", "two"}  # type: ignore[attr-defined]
    assert {part: each.mode for part, each in recipe.model.training.items()} == {
        "vision": "frozen",
        "projector": "full",
        "language": "full",
    }
    assert recipe.to_dict()["backend"]["precision"] == "bf16_autocast"


@pytest.mark.parametrize(
    ("optim", "more", "expected"),
    [
        ("adamw_torch", {}, None),
        ("adafactor", {}, "adafactor"),
        ("paged_adamw_8bit", {}, "paged_adamw_8bit"),
        ("adamw_bnb_8bit", {}, "adamw_8bit"),
        ("lion_32bit", {}, None),
        ("adafactor", {"fsdp": "full_shard"}, None),
    ],
)
def test_an_optimizer_that_mdpo_has_is_carried_over(
    tmp_path: Path, optim: str, more: dict[str, Any], expected: str | None
) -> None:
    recipe, notes = from_yaml(tmp_path, LLAMAFACTORY | {"optim": optim} | more)
    chosen = recipe.train.optimizer
    assert (None if chosen is None else chosen.component_name()) == expected
    assert any(note.startswith(f"optim: {optim}: the recipe") for note in notes) == (
        expected is None and optim != "adamw_torch"
    )


def test_a_script_of_swift_becomes_a_recipe_for_its_processes(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text(SWIFT)
    text, notes = converted(tmp_path / "train.sh", None, None, Path("my.yaml"))
    assert text.startswith("# mdpo-run my.yaml --processes 4\n")
    recipe = recipe_of(text, 4)
    made = recipe.to_dict()
    assert (recipe.train.batch_size, recipe.train.micro_batch_size) == (16, 1)
    assert (recipe.train.learning_rate, recipe.train.weight_decay) == (1e-4, 0.1)
    assert (recipe.train.adam_betas, recipe.train.schedule, recipe.train.warmup_ratio) == ((0.9, 0.95), "cosine", 0.0)
    assert made["model"]["lora"] | {"rank": 8, "alpha": 32.0, "dropout": 0.0} == made["model"]["lora"]
    assert [term["weight"] for term in made["objective"]] == [0.8, 0.2, 0.1]
    assert made["backend"] | {"zero_stage": 3, "offload": "optimizer_and_parameters"} == made["backend"]
    assert (made["data"]["split"], made["data"]["hold_out"]["share"]) == ("train[:200]", 0.01)
    assert recipe.evaluators[0].every == 100  # type: ignore[attr-defined]
    assert any("draws 200 rows" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "objective"),
    [
        ({"rlhf_type": "orpo"}, [{"loss": "orpo", "lam": 0.1}]),
        ({"rlhf_type": "simpo", "cpo_alpha": 0}, [{"loss": "simpo", "beta": 2.0, "gamma": 1.0}]),
        ({"rlhf_type": "simpo"}, [{"loss": "simpo"}, {"anchor": "sft"}]),
        ({"rlhf_type": "cpo"}, [{"loss": "cpo", "beta": 0.1, "alpha": 1.0}]),
    ],
)
def test_kinds_of_swift_become_terms(tmp_path: Path, options: dict[str, Any], objective: list[dict[str, Any]]) -> None:
    made = from_yaml(tmp_path, {"model": "a/b", "dataset": ["pairs.jsonl"]} | options)[0].to_dict()["objective"]
    assert len(made) == len(objective)
    assert all(expected.items() <= term.items() for expected, term in zip(objective, made, strict=True))


def test_parts_of_swift_train_with_rates_of_their_own(tmp_path: Path) -> None:
    options = {"model": "a/b", "dataset": "p.jsonl", "freeze_vit": False, "vit_lr": 1e-6}
    recipe, _ = from_yaml(tmp_path, options)
    vision = recipe.model.training["vision"]
    assert (vision.mode, vision.learning_rate) == ("lora", 1e-6)
    full, _ = from_yaml(tmp_path, options | {"tuner_type": "full", "torch_dtype": "float32"})
    assert full.model.training["vision"].learning_rate == 1e-6
    assert full.train.learning_rate == 1e-5


def test_a_configuration_file_of_deepspeed_becomes_the_backend(tmp_path: Path) -> None:
    zero = {"stage": 2, "offload_optimizer": {"device": "cpu"}, "overlap_comm": True, "reduce_bucket_size": "auto"}
    content = {"zero_optimization": zero, "train_batch_size": "auto", "bf16": {"enabled": "auto"}, "optimizer": {}}
    (tmp_path / "ds.json").write_text(json.dumps(content))
    recipe, notes = from_yaml(tmp_path, LLAMAFACTORY | {"deepspeed": "ds.json"})
    backend = recipe.to_dict()["backend"]
    assert (backend["zero_stage"], backend["offload"], backend["precision"]) == (2, "optimizer", "bf16")
    assert backend["config"] == {"zero_optimization": {"overlap_comm": True}}
    assert any(note.startswith("deepspeed: optimizer: the recipe decides") for note in notes)
