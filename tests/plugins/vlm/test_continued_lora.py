"""`model.continue_lora`: an adapter of peft is trained on, beside its model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mdpo_vlm.loading.shapes import without_weights
from pydantic import ValidationError
from support.builders.continued import LORA, VISION, plain, tuned_by_peft
from support.builders.small_vlms import build_vlm
from support.oracles.plain_gradients import PlainModel, require_plain
from support.oracles.plain_vlms import VIEWS, adapter, examples
from transformers import PreTrainedModel

from mdpo_core import DataError, ModelAdapter, Placement, RecipeError
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.testing import check_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """peft finds the names of its list in the vision encoder, too."""
    targets = ["q_proj", "v_proj", "up_proj"]
    return tuned_by_peft(base, tmp_path_factory.mktemp("tuned") / "sft", r=4, lora_alpha=16, target_modules=targets)


def made(path: Path, **options: Any) -> ModelAdapter:
    known = {"lora": LORA, "parts": {"vision": VISION}, "continue_lora": True}
    found = adapter("llava", path, **known | options)
    assert isinstance(found, ModelAdapter)
    return found


def test_it_keeps_the_contract_of_adapters(base: Path, tuned: Path, photographs: Path) -> None:
    def reload(folder: Path) -> torch.nn.Module:
        return plain(base, folder)

    check_adapter(made(tuned), examples("llava", photographs), reload)


def numbers_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.named_parameters() if ".default." in name}


def test_what_trains_are_the_weights_of_the_adapter_and_the_start_stays(base: Path, tuned: Path) -> None:
    model = made(tuned).load(Placement()).module
    expected = {name: value for name, value in numbers_of(plain(base, tuned)).items() if "layers.1." not in name}
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    found = {name: value for name, value in trained.items() if "layers.1." not in name}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)
    start = {name: value for name, value in model.named_buffers() if ".start." in name}
    assert start.keys() == {name.replace(".default.", ".start.") for name in trained}
    assert not start.keys() & model.state_dict().keys()


@pytest.mark.parametrize("kind", ["dora", "rslora", "all-linear"])
def test_kinds_of_lora_keep_the_contract(kind: str, base: Path, photographs: Path, tmp_path: Path) -> None:
    of_peft = {"dora": {"use_dora": True}, "rslora": {"use_rslora": True}, "all-linear": {}}[kind]
    pattern = r".*language_model.*(q|k|v|o|gate|up|down)_proj" if kind == "all-linear" else r".*language_model.*q_proj"
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=pattern, **of_peft)
    ours = {"rank": 4, "alpha": 16, **({} if kind == "all-linear" else {"targets": ["q_proj"], kind: True})}
    check_adapter(made(tuned, lora=ours, parts={}), examples("llava", photographs)[:2])


def changed(tuned: Path, folder: Path, **options: Any) -> Path:
    copy = Path(shutil.copytree(tuned, folder))
    known = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**known, **options}))
    return copy


def in_both_parts(**options: Any) -> dict[str, Any]:
    return {"lora": LORA | options, "parts": {"vision": VISION | {"lora": VISION["lora"] | options}}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"lora": LORA | {"rank": 8}},
            r"model.lora: .*layers.0.mlp.up_proj has LoRA of rank 4 and alpha 16, scaled by 4 in the adapter .*, and "
            r"LoRA of rank 8 and alpha 16, scaled by 2 in the recipe; write {rank: 4, alpha: 16, targets: "
            r"\[q_proj, up_proj, v_proj\]}",
        ),
        ({"lora": LORA | {"alpha": 8.0}}, r"write {rank: 4, alpha: 16, targets"),
        (in_both_parts(rslora=True), r"scaled by 8 in the recipe; write {rank: 4, alpha: 16, targets"),
        (in_both_parts(dora=True), r"and DoRA of rank 4 and alpha 16, scaled by 4 in the recipe"),
        ({"lora": LORA | {"targets": ["q_proj"]}}, r"up_proj has LoRA of .* and no LoRA in the recipe; write"),
        ({"lora": LORA | {"targets": ["all-linear"]}}, r"has no LoRA in the adapter .*, and LoRA of rank 4"),
        (
            {"parts": {}},
            r"model.parts.vision: .* and no LoRA in the recipe; write {train: lora, lora: {rank: 4, alpha: 16, "
            r"targets: \[q_proj, v_proj\]}}",
        ),
        (
            {"parts": {"vision": VISION, "projector": {"train": "lora", "lora": LORA | {"targets": ["all-linear"]}}}},
            r"model.parts.projector: .*; the adapter has no LoRA in the projector part, so write {train: froz",
        ),
    ],
)
def test_a_recipe_that_says_another_lora_is_told_what_to_write(options: dict[str, Any], told: str, tuned: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        made(tuned, **options).check()
    with pytest.raises(RecipeError, match=told):
        made(tuned, **options).load(Placement())


def test_what_the_sentence_says_to_write_is_taken(base: Path, tmp_path: Path) -> None:
    """LoRA on one layer alone is told by full names."""
    pattern = r".*language_model.layers.1.self_attn.q_proj"
    tuned = tuned_by_peft(base, tmp_path / "sft", target_modules=pattern)
    with pytest.raises(RecipeError, match=r"write {rank: 8, alpha: 8, targets: \[model.language_model.layers.1.self_"):
        made(tuned, parts={}).check()
    lora = {"rank": 8, "alpha": 8, "targets": ["model.language_model.layers.1.self_attn.q_proj"]}
    made(tuned, parts={}, lora=lora).check()


@pytest.mark.parametrize(
    "pattern",
    [r".*vision_tower.*(q_proj|fc1)", r".*projector.*linear_\d", r".*(vision_tower.*v_proj|projector.linear_1)"],
    ids=["vision", "projector", "both"],
)
def test_for_an_adapter_beside_the_language_model_the_sentence_says_all_that_a_recipe_needs(
    pattern: str, base: Path, tmp_path: Path
) -> None:
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=pattern)
    with pytest.raises(RecipeError, match=r"no LoRA in the language part, so leave model.lora out, and") as caught:
        made(tuned, lora={"rank": 4, "alpha": 16}, parts={}).check()
    [written] = re.findall(r"write model\.parts: (\{.*\})$", str(caught.value), re.MULTILINE)
    options = {"lora": None, "parts": yaml.safe_load(written)}
    made(tuned, **options).check()
    trained = made(tuned, **options).load(Placement()).module.named_parameters()
    # LLaVA does not read its last vision layer
    expected = {name for name in numbers_of(plain(base, tuned)) if "vision_tower.encoder.layers.1." not in name}
    assert {name for name, value in trained if value.requires_grad} == expected


def test_parts_that_would_train_in_full_without_lora_of_the_language_model_are_named(
    base: Path, tmp_path: Path
) -> None:
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=r".*vision_tower.*q_proj")
    parts = {"vision": {"train": "lora", "lora": LORA | {"targets": ["q_proj"]}}}
    with pytest.raises(ValidationError, match=r"freeze it \(parts.language.train: frozen\)"):
        made(tuned, lora=None, parts=parts)
    parts["language"] = {"train": "frozen"}
    with pytest.raises(ValidationError, match=r"continue_lora trains LoRA alone; write parts.projector: {train: froz"):
        made(tuned, lora=None, parts=parts)
    parts["projector"] = {"train": "frozen"}
    made(tuned, lora=None, parts=parts).check()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rank_pattern": {"up_proj": 2}}, "mismatched tensors"),
        (
            {"alpha_pattern": {"up_proj": 2}},
            "one rank and alpha for all layers of a part, so leave model.continue_lora out",
        ),
        ({"peft_type": "IA3"}, "peft_type"),
        (
            {"base_model_name_or_path": "/nowhere"},
            "is '/nowhere', which is not there; say where the model is: model.base",
        ),
        (
            {"modules_to_save": ["lm_head"]},
            "modules_to_save is lm_head, which is not trained on: mdpo keeps a copy of LoRA of layers as the model "
            "before training, and none of whole modules; leave model.continue_lora out, and it is merged",
        ),
        (
            {"target_parameters": ["up_proj.weight"]},
            "target_parameters is up_proj.weight, which .*, and none of experts; leave model.continue_lora out, and",
        ),
    ],
)
def test_adapters_that_cannot_be_trained_on_are_sentences(
    options: dict[str, Any], told: str, tuned: Path, tmp_path: Path
) -> None:
    with pytest.raises((DataError, RecipeError), match=told):
        made(changed(tuned, tmp_path / "sft", **options)).check()


def test_folders_that_are_no_adapter_are_sentences(base: Path, tuned: Path, tmp_path: Path) -> None:
    told = "is a whole model and no adapter that could be trained on; leave model.continue_lora out"
    with pytest.raises(DataError, match=told):
        made(base).check()
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    (copy / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"adapter_model.safetensors"):
        made(copy).check()
    (copy / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match=r"adapter_model.safetensors is missing"):
        made(copy).check()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"lora": None, "parts": {}},
            "continue_lora needs lora, with the rank, alpha and targets of the adapter in path",
        ),
        ({"lora": LORA | {"save": ["norm"]}}, "continue_lora trains LoRA alone; leave lora.save out"),
        ({"parts": {"projector": {"train": "full"}}}, r"trains LoRA alone; write parts.projector: {train: frozen}"),
    ],
)
def test_options_that_contradict_it_are_sentences(options: dict[str, Any], told: str, tuned: Path) -> None:
    with pytest.raises(ValidationError, match=told):
        made(tuned, **options)


def test_the_model_is_built_once_to_be_compared(
    base: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    built: list[Path] = []

    def counted(folder: Path) -> PreTrainedModel:
        built.append(folder)
        return without_weights(folder)

    monkeypatch.setattr("mdpo_vlm.loading.continued.without_weights", counted)
    made(tuned).check()
    assert built == [base]


def test_the_processor_saved_beside_the_adapter_is_used(base: Path, tuned: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        if (base / name).exists():
            shutil.copy(base / name, copy)
    (copy / "chat_template.jinja").write_text("{% for turn in messages %}<image>NEW{% endfor %}")
    files = made(copy).files()
    assert copy / "tokenizer.json" in files
    assert base / "tokenizer.json" not in files
    model = made(copy).load(Placement())
    model.export(tmp_path / "out")
    assert "NEW" in (tmp_path / "out" / "chat_template.jinja").read_text()


def test_log_probs_and_gradients_are_those_of_plain_peft(base: Path, tuned: Path, photographs: Path) -> None:
    rows, model = examples("llava", photographs), made(tuned).load(Placement())
    batch = BatchBuilder(made(tuned).encoder(), VIEWS, {}, (), 10**9, 0).build(rows, range(len(rows)), epoch=0)
    scored = Scorer(model, TermInputs(VIEWS), options=Scoring())(batch).policy
    require_plain(scored, model.module, rows, PlainModel(plain(base, tuned).eval(), "llava", base))
