"""`model.path` may be an adapter of peft: SFT first, then mDPO on its result."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm import TransformersAdapter
from peft import LoraConfig, PeftModel, get_peft_model
from support.builders.small_vlms import NIGHTLY, build_vlm
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import DataError, ModelAdapter, Placement, RecipeError, component, load_recipe, run
from mdpo_core.cli import main


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as peft alone saves it, which names its model by an absolute path."""
    folder = tmp_path_factory.mktemp("tuned") / "sft"
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def of_peft(base: Path, tuned: Path) -> dict[str, torch.Tensor]:
    """The merged weights of plain transformers and peft."""
    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned)
    return dict(plain.merge_and_unload().state_dict())


def adapter(path: Path, **options: Any) -> ModelAdapter:
    made = component("adapter", "chat_vlm", path=str(path), **options)
    assert isinstance(made, ModelAdapter)
    return made


def test_the_model_before_training_is_the_base_with_the_adapter(base: Path, tuned: Path) -> None:
    made = adapter(tuned, lora={"rank": 2, "alpha": 4})
    made.check()
    model = made.load(Placement("cpu", "float32"), trainable=False)
    expected = of_peft(base, tuned)
    assert model.module.state_dict().keys() == expected.keys()
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)


@NIGHTLY
@pytest.mark.parametrize("family", ["qwen3_vl_moe", "glm4v_moe"])
def test_an_adapter_of_experts_is_merged_too(family: str, tmp_path: Path) -> None:
    base = build_vlm(family, tmp_path / "base")
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj"], target_parameters=experts)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(tmp_path / "tuned")
    loaded = adapter(tmp_path / "tuned").load(Placement(), trainable=False).module.state_dict()
    for name, value in of_peft(base, tmp_path / "tuned").items():
        torch.testing.assert_close(loaded[name], value, atol=0, rtol=0)


def test_it_is_merged_once_and_again_when_a_file_changes(tuned: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    first = adapter(copy).files()
    written = {file: file.stat().st_mtime_ns for file in first}
    assert {file: file.stat().st_mtime_ns for file in adapter(copy).files()} == written
    options = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**options, "lora_alpha": 8}))
    assert not set(adapter(copy).files()) & set(first)


def test_the_base_may_be_said(base: Path, tuned: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    options = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**options, "base_model_name_or_path": "/nowhere/llava"}))
    with pytest.raises(DataError, match=r"is '/nowhere/llava', which is not there; say where the model is: model.base"):
        adapter(copy).check()
    adapter(copy, base=str(base)).check()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base_model_name_or_path": None}, "names no model; say which one it is: model.base"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"r": 8}, "20 mismatched tensors"),
        ({"target_modules": ["nothing"]}, "adapter_config.json"),
    ],
)
def test_adapters_that_do_not_fit_are_sentences(
    change: dict[str, Any], told: str, base: Path, tuned: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    options = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**options, **change}))
    with pytest.raises(DataError, match=told):
        adapter(copy).check()
    assert not list((tmp_path / "cache" / "merged").glob("sft-*"))


def test_folders_that_are_no_adapter_of_a_model_are_sentences(base: Path, tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a whole model and no adapter, so it has no base; leave model.base out"):
        adapter(base, base=str(base)).check()
    second = Path(shutil.copytree(tuned, tmp_path / "second"))
    with pytest.raises(DataError, match="is an adapter, too; merge that one into its model first"):
        adapter(second, base=str(tuned)).check()
    (second / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match=r"adapter_model.safetensors is missing; .* Save it as safetensors"):
        adapter(second).check()


def test_a_new_recipe_names_the_adapter(tuned: Path, pairs: Path, photographs: Path, tmp_path: Path) -> None:
    words = ["--model", tuned, "--data", pairs, "--images", photographs, "--out", tmp_path / "my.yaml"]
    assert main(["new-recipe", *map(str, words)]) == 0
    model = load_recipe(tmp_path / "my.yaml").model
    assert isinstance(model, TransformersAdapter)
    assert model.folder().parent.name == "merged"


def test_a_new_recipe_offers_to_train_the_adapter_itself_on(
    base: Path, tuned: Path, pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "my.yaml"
    words = ["--data", pairs, "--images", photographs, "--out", mine, "--model"]
    assert main(["new-recipe", *map(str, words), str(tuned)]) == 0
    written = mine.read_text()
    mine.write_text(written.replace("  # continue_lora: true", "  continue_lora: true"))
    with pytest.raises(RecipeError, match=r"write {rank: 4, alpha: 16, targets") as caught:
        load_recipe(mine).model.check()
    [vision, language] = re.findall(r"write (\{.*\})$", str(caught.value), re.MULTILINE)
    load_recipe(mine, [f"model.lora={language}", f"model.parts.vision={vision}"]).model.check()

    mine.unlink()
    assert main(["new-recipe", *map(str, words), str(base)]) == 0
    assert "continue_lora" not in mine.read_text()


def test_a_run_begins_at_the_adapter_and_its_export_loads_in_peft(
    tuned: Path, pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(
        Path(__file__).parents[3] / "recipes" / "llava_mdpo.yaml",
        [
            f"model={{adapter: chat_vlm, path: {tuned}, prompts: ready, lora: {{rank: 2, alpha: 4}}}}",
            f"data.path={pairs}",
            f"data.images={photographs}",
            "data.hold_out=null",
            "evaluators=[]",
            "trackers=[]",
            "probe=off",
            *("train.epochs=1", "train.batch_size=2", "train.micro_batch_size=2", "train.workers=0"),
            "train.learning_rate=1.0e-2",
            "backend={backend: local, precision: fp32}",
        ],
    )
    done = run(recipe, run_dir=tmp_path / "run")
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss/text"] == pytest.approx(0.6931, abs=1e-3)  # the reference has the adapter of SFT, too
    named = json.loads((done.final / "adapter_config.json").read_text())["base_model_name_or_path"]
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(named), done.final)
    assert any(value.any() for name, value in model.state_dict().items() if "lora_B" in name)
    AutoProcessor.from_pretrained(named, backend="pil")


@pytest.mark.parametrize(
    "more", [{}, {"continue_lora": True, "lora": {"rank": 4, "alpha": 16}}], ids=["merge", "continue"]
)
def test_a_tokenizer_without_a_processor_is_refused(
    more: dict[str, Any], base: Path, tuned: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    shutil.copy(base / "tokenizer_config.json", copy)
    with pytest.raises(
        DataError, match=r"sft: contains a tokenizer, but no processor; save the processor beside it, or"
    ):
        adapter(copy, **more).files()


def test_a_model_with_an_adapter_in_its_folder_is_refused(base: Path, tuned: Path, tmp_path: Path) -> None:
    """Plain transformers would put the adapter on."""
    both = Path(shutil.copytree(base, tmp_path / "both"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tuned / name, both)
    with pytest.raises(DataError, match=r"contains a model and an adapter .*; move one of them to another folder"):
        adapter(both).check()
