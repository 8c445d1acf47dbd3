"""Mixtures of experts: adapters on the experts, and only where they belong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from mdpo_vlm.families import FAMILIES
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.oracles.plain_vlms import VIEWS, adapter, examples
from support.paths import ROOT
from torch import nn
from transformers import AutoModelForImageTextToText

from mdpo_core import DataError, Placement, RecipeError, VisionLanguageModel, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.testing import check_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0.5}
WITH_EXPERTS = {**LORA, "targets": ["all-linear", "experts"]}


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.unadaptable != r"$^"])
def test_names_that_peft_takes_for_experts_get_no_adapter(family: str, tmp_path: Path) -> None:
    parts = {"vision": {"train": "lora", "lora": LORA}, "projector": {"train": "lora", "lora": LORA}}
    model = adapter(family, build_vlm(family, tmp_path), lora=LORA, parts=parts).load(Placement())
    adapted = [name for name, module in model.module.named_modules() if isinstance(module, LoraLayer)]
    assert len(adapted) >= 8
    assert not any("expert" in name or name.endswith(("gate_proj", "up_proj", "down_proj")) for name in adapted)


def test_a_pattern_for_such_a_name_is_refused(tmp_path: Path) -> None:
    folder = build_vlm("glm4v_moe", tmp_path)
    with pytest.raises(RecipeError, match=r"'down_proj' matches model.*down_proj, whose name peft takes for that"):
        adapter("glm4v_moe", folder, lora={**LORA, "targets": ["down_proj"]}).check()


@NIGHTLY
def test_the_thinker_of_a_whole_model_is_saved_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file in which a talker is beside it, as published."""
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "models.md").read_text(), re.DOTALL)
    folders = tmp_path / "models"
    whole, apart = folders / "qwen3-omni", folders / "qwen3-omni-thinker"
    whole.mkdir(parents=True)
    thinker = build_vlm("qwen3_omni_moe_thinker", tmp_path / "thinker")
    weights = load_file(thinker / "model.safetensors")
    named = {f"thinker.{name}": value for name, value in weights.items()}
    save_file({**named, "talker.x.weight": torch.ones(2, 2)}, whole / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "qwen3_omni_moe", "thinker_config": json.loads((thinker / "config.json").read_text())}
    (whole / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="it also speaks; save its thinker apart"):
        component("adapter", "chat_vlm", path=str(whole)).check()  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    for file in thinker.iterdir():
        if not (apart / file.name).exists():
            (apart / file.name).write_bytes(file.read_bytes())
    made = adapter("qwen3_omni_moe_thinker", apart, lora=WITH_EXPERTS)
    made.check()
    made.encoder()
    found, expected = (
        each.load(Placement(), trainable=False).module.state_dict()
        for each in (made, adapter("qwen3_omni_moe_thinker", thinker))
    )
    assert found.keys() == expected.keys()
    assert all(found[name].equal(value) for name, value in expected.items())


@NIGHTLY
@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.experts])
def test_the_contract_of_adapters_holds_with_lora_on_experts(family: str, tmp_path: Path, photographs: Path) -> None:
    """Plain peft loads what is exported, and gives the same."""
    folder = build_vlm(family, tmp_path)

    def reload(exported: Path) -> nn.Module:
        loaded: nn.Module = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), exported)
        return loaded

    check_adapter(adapter(family, folder, lora=WITH_EXPERTS), examples(family, photographs), reload)


def moved(folder: Path, targets: list[str]) -> VisionLanguageModel:
    """The model with adapters that change it."""
    model = adapter("qwen3_vl_moe", folder, lora={**LORA, "targets": targets}).load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    return model


def test_adapted_experts_are_the_same_alone_and_merged(tmp_path: Path) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path / "model")
    model, ids = moved(folder, ["experts.gate_up_proj", "q_proj"]), torch.arange(20, 40)[None]
    adapted = {
        name.partition(".lora_")[0].rpartition(".")[2] for name, _ in model.module.named_parameters() if "lora_" in name
    }
    assert adapted == {"experts", "q_proj"}
    for name in ("adapter", "merged"):
        (tmp_path / name).mkdir()
    with torch.no_grad():
        expected = model.module(input_ids=ids).logits
        base = AutoModelForImageTextToText.from_pretrained(folder)
        assert (base(input_ids=ids).logits - expected).abs().max() > 0.1
        model.export(tmp_path / "adapter")
        loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected)
        model.export(tmp_path / "merged", merge=True)
        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"targets": ["experts"], "dora": True}, "model.lora.dora: peft adapts experts without DoRA"),
        ({"targets": ["mlp.gate"]}, r"mlp.gate \(Qwen3VLMoeTextTopKRouter\), which LoRA cannot adapt"),
        ({"targets": ["experts.up_proj"]}, "no module of the language part; did you mean 'experts.gate_up_proj'"),
        ({"targets": ["down_proj"]}, "no module of the language part; did you mean 'experts.down_proj'"),
        ({"targets": ["layers.0.mlp.gate_up_proj"]}, "did you mean 'experts.gate_up_proj'"),
        ({"targets": ["*.mlp.gate_up_prj"]}, "did you mean 'experts.gate_up_proj'"),
        ({"save": ["down_proj"]}, "no module of the language part; did you mean 'experts'"),
        (
            {"targets": ["all-linear", "experts"], "save": ["experts"]},
            "model.lora.targets: 'experts' matches only what save trains in full, such as .*experts.down_proj; leave",
        ),
        (
            {"targets": ["q_proj", "experts.down_proj"], "save": ["mlp", "self_attn.q_proj"]},
            "(?s)targets: 'q_proj' matches only what save .*targets: 'experts.down_proj' matches only what save ",
        ),
    ],
)
def test_what_cannot_have_an_adapter_is_named(lora: dict[str, object], message: str, tmp_path: Path) -> None:
    made = adapter("qwen3_vl_moe", build_vlm("qwen3_vl_moe", tmp_path), lora={**LORA, **lora})
    with pytest.raises(RecipeError, match=message):
        made.check()


def test_what_trains_in_full_gets_no_adapter_and_the_others_keep_theirs_as_in_peft(tmp_path: Path) -> None:
    """peft leaves layers out that it trains in full; of experts it needs the names of the others."""
    folder, save = build_vlm("qwen3_vl_moe", tmp_path), r"language_model.layers.0.mlp.experts"
    made = adapter("qwen3_vl_moe", folder, lora={**LORA, "targets": ["q_proj", "experts"], "save": [save]})
    config = LoraConfig(
        r=4,
        target_modules=r".*language_model.*q_proj",
        target_parameters=[f"layers.1.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")],
        modules_to_save=[save],
    )
    plain = get_peft_model(AutoModelForImageTextToText.from_pretrained(folder), config)
    found, expected = (
        {name for name, value in module.named_parameters() if value.requires_grad}
        for module in (made.load(Placement()).module, plain)
    )
    assert found == expected
    assert sum("modules_to_save" in name for name in found) == 2
    assert not any("layers.0.mlp" in name and "lora_" in name for name in found)
    assert any("layers.1.mlp" in name and "lora_" in name for name in found)


def test_routers_can_train_in_full_beside_adapters(tmp_path: Path, photographs: Path) -> None:
    folder = build_vlm("qwen3_vl_moe", tmp_path)
    made = adapter("qwen3_vl_moe", folder, lora={**LORA, "save": ["mlp.gate"]})
    model, data = made.load(Placement()), examples("qwen3_vl_moe", photographs)
    trained = [name for name, value in model.module.named_parameters() if value.requires_grad and "lora_" not in name]
    assert len(trained) == 2
    assert all(name.endswith("mlp.gate.modules_to_save.default.weight") for name in trained)
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    loss = Scorer(model, TermInputs(VIEWS), options=Scoring(), balanced=True)(batch).router_aux_loss
    assert loss is not None
    gradients = torch.autograd.grad(loss, [model.module.get_parameter(name) for name in trained])
    assert all(bool(gradient.any()) for gradient in gradients)
