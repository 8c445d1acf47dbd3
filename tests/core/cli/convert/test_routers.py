"""The loss of routers that TRL adds to a mixture of experts unless its configuration says 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.builders.small_vlms import build_vlm
from transformers import AutoConfig

from mdpo_core.cli.convert.command import converted
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import document_of


def weight_and_notes(folder: Path, model: object, more: dict[str, Any]) -> tuple[float | None, list[str]]:
    """`train.router_aux_loss_coef` of the recipe that `mdpo convert` makes, and what it says of it."""
    options = {"model_name_or_path": str(model), "dataset_name": "some/pairs", **more}
    (folder / "c.json").write_text(json.dumps(options))
    text, notes = converted(folder / "c.json", "trl", None, None)
    recipe = build_recipe(document_of(YAML(typ="safe", pure=True).load(text)), 1)
    return recipe.train.router_aux_loss_coef, [note for note in notes if note.startswith("router_aux_loss_coef")]


def set_in_config(folder: Path, value: float | None) -> None:
    """Write the weight into the model's config.json; None: remove it."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["router_aux_loss_coef"] = value
    if value is None:
        del config["text_config"]["router_aux_loss_coef"]
    (folder / "config.json").write_text(json.dumps(config))


def weight_of_trl(folder: Path) -> float:
    """What `DPOTrainer` of trl 1.16 takes if its configuration gives none."""
    text = AutoConfig.from_pretrained(folder).get_text_config()
    return float(getattr(text, "router_aux_loss_coef", 0.0)) if hasattr(text, "output_router_logits") else 0.0


@pytest.mark.parametrize("value", [0.001, 0.25, 0.0])
def test_the_weight_of_a_models_own_file_is_taken_over_as_trl_does(value: float, tmp_path: Path) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path / "model")
    set_in_config(folder, value)
    weight, notes = weight_and_notes(tmp_path, folder, {})
    assert (weight or 0.0, notes) == (weight_of_trl(folder), [])


def test_a_weight_of_the_configuration_goes_before_that_of_the_file(tmp_path: Path) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path / "model")
    assert weight_and_notes(tmp_path, folder, {"router_aux_loss_coef": 0.5}) == (0.5, [])
    assert weight_and_notes(tmp_path, folder, {"router_aux_loss_coef": 0}) == (None, [])


def test_where_the_weight_cannot_be_taken_over_it_is_told(tmp_path: Path) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path / "model")
    set_in_config(folder, 0.25)
    assert weight_and_notes(tmp_path, folder, {"torch_compile": True}) == (
        None,
        [
            "router_aux_loss_coef: not given, so TRL takes 0.25 of the model's config.json; the recipe has no such "
            "loss, because compiled layers hide what routers say"
        ],
    )
    set_in_config(folder, None)
    assert weight_and_notes(tmp_path, folder, {}) == (
        None,
        [
            "router_aux_loss_coef: not given, so TRL takes what transformers has for a mixture of experts whose "
            "config.json says none; the recipe has no such loss: train.router_aux_loss_coef adds it"
        ],
    )


@pytest.mark.parametrize("model", ["some/model", ""])
def test_a_model_that_is_not_here_may_be_a_mixture_of_experts(model: str, tmp_path: Path) -> None:
    weight, [note] = weight_and_notes(tmp_path, model, {})
    assert weight is None
    assert note == (
        "router_aux_loss_coef: not given, so TRL takes that of the model's config.json if the model is a mixture of "
        "experts; the recipe has no such loss: train.router_aux_loss_coef adds it"
    )
    assert weight_and_notes(tmp_path, model, {"router_aux_loss_coef": 0.0}) == (None, [])


@pytest.mark.parametrize(
    ("family", "value", "expected"),
    [("qwen3_vl", None, None), ("qwen3_vl_moe", 0.25, 0.25), ("qwen3_vl_moe", 0.0, None)],
)
def test_a_model_of_the_hub_is_judged_by_its_file_in_the_cache(
    family: str, value: float | None, expected: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_vlm(family, tmp_path / "model")
    if value is not None:
        set_in_config(folder, value)
    cached = tmp_path / "hub" / "models--some--model"
    for name, text in (("refs/main", "1a"), ("snapshots/1a/config.json", (folder / "config.json").read_text())):
        (cached / name).parent.mkdir(parents=True)
        (cached / name).write_text(text)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert weight_and_notes(tmp_path, "some/model", {}) == (expected, [])


@pytest.mark.parametrize("model", ["BAAI/Bunny-v1_0-3B", "liuhaotian/llava-v1.5-7b"])
def test_families_without_experts_need_no_words(model: str, tmp_path: Path) -> None:
    assert weight_and_notes(tmp_path, model, {}) == (None, [])


def test_a_model_without_routers_needs_no_words(tmp_path: Path) -> None:
    assert weight_and_notes(tmp_path, build_vlm("qwen3_vl", tmp_path / "model"), {}) == (None, [])


def test_routers_that_mdpo_does_not_know_are_told(tmp_path: Path) -> None:
    folder = build_vlm("qwen3_vl", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"output_router_logits": False, "router_aux_loss_coef": 0.25}
    (folder / "config.json").write_text(json.dumps(config))
    weight, [note] = weight_and_notes(tmp_path, folder, {})
    assert weight is None
    assert note.endswith("the recipe has no such loss, because mdpo does not know routers of this model")
