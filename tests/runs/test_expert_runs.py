"""Whole runs of mixtures of experts: balanced routers, and processes whose tokens go to different experts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.builders.small_vlms import build_vlm
from support.paths import RECIPES
from support.processes.launching import EVERY, launch, records, require_same_training
from transformers import AutoConfig, AutoModelForImageTextToText

from mdpo_core import load_recipe, run

RECIPE = RECIPES / "qwen2_5_vl_mdpo.yaml"
NIGHTLY = pytest.mark.nightly(reason="the parts are tested one by one")


@NIGHTLY
def test_a_run_adds_the_load_of_experts_to_the_loss_and_balances_it(
    small: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path / "model")
    more = [f"model.path={folder}", "model.lora=null", "objective=[{loss: dpo, label: text}]", "train.epochs=6"]
    done = run(load_recipe(RECIPE, [*small, *sizes, *more, "train.router_aux_loss_coef=2.0"]))
    trained = [line for line in records(done.run_dir) if "loss" in line]
    for line in trained:
        assert line["loss"] == pytest.approx(line["loss/text"] + 2 * line["router_aux_loss"], abs=1e-5)
    assert trained[-1]["router_aux_loss"] < trained[0]["router_aux_loss"]


def with_rare_experts(folder: Path) -> Path:
    """The model with 64 experts, of which each token uses one: a row leaves some without a token."""
    config = AutoConfig.from_pretrained(folder)
    config.text_config.update({"num_experts": 64, "num_experts_per_tok": 1})
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(folder)
    return folder


def experts_of(folder: Path, text: str) -> set[int]:
    """The experts of the first layer that get a token of a text."""
    model, used = AutoModelForImageTextToText.from_pretrained(folder), set()
    router = model.get_decoder().layers[0].mlp.gate
    router.register_forward_hook(lambda module, inputs, output: used.update(output[2].flatten().tolist()))
    ids = torch.tensor([[ord(each) % 300 for each in text]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return used


@NIGHTLY
@pytest.mark.parametrize("backend", ["zero_3", "fsdp"])
def test_adapters_of_experts_train_in_two_processes_as_in_one(
    backend: str, changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    same = [
        *(change for change in changes if not change.startswith("backend")),
        *(*sizes, f"model.path={build_vlm('qwen3_vl_moe', tmp_path / 'model')}", "model.lora.dropout=0"),
        *("model.lora.targets=[all-linear, experts]", "train.router_aux_loss_coef=0.01"),
        "scoring.activation_checkpointing=full",
        *("train.micro_batch_size=1", "train.learning_rate=1.0e-4"),
    ]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], tmp_path / "two", "--processes", "2", recipe=RECIPE)
    assert finished.returncode == 0, finished.stderr
    require_same_training(tmp_path / "two", tmp_path / "one", 1e-4)


@NIGHTLY
@pytest.mark.parametrize("backend", ["zero_3", "fsdp"])
def test_an_expert_without_tokens_in_one_process_stops_no_other(
    backend: str, changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = with_rare_experts(build_vlm("qwen3_vl_moe", tmp_path / "model"))
    assert experts_of(folder, "A temple") != experts_of(folder, "What is it?")
    same = [
        *(change for change in changes if not change.startswith(("backend", "model.lora"))),
        *(*sizes, f"model.path={folder}", "model.lora=null", "model.freeze=[]", "train.router_aux_loss_coef=0.01"),
        *("train.micro_batch_size=1", "train.learning_rate=1.0e-5"),
    ]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], tmp_path / "two", "--processes", "2", recipe=RECIPE)
    assert finished.returncode == 0, finished.stderr
    require_same_training(tmp_path / "two", tmp_path / "one", 1e-5, but=r"(k_proj|qkv)\.bias")
