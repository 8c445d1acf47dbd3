"""Options of adapters: those that mdpo refuses say why, and what would work; others compute what peft computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support.builders.continued import LORA, tuned_by_peft
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import DataError, Placement

OF_LANGUAGE = r".*language_model.*(q_proj|v_proj)"
MERGED = (
    r"PeftModel.from_pretrained\(MODEL, FOLDER\).merge_and_unload\(\).save_pretrained\(NEW\), the processor saved in"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "sft"
    return tuned_by_peft(base, folder, r=4, lora_alpha=16, target_modules=OF_LANGUAGE)


def of_peft(base: Path, tuned: Path) -> nn.Module:
    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned)
    merged = plain.merge_and_unload()
    assert isinstance(merged, nn.Module)
    return merged


def require_weights(folder: Path, expected: nn.Module) -> None:
    made = adapter("llava", folder)
    made.check()
    found = made.load(Placement(), trainable=False).module.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"init_lora_weights": "pissa"}, rf"is 'pissa', which also changes .*, and mdpo puts LoRA on .*; .*{MERGED}"),
        ({"init_lora_weights": "olora"}, rf"is 'olora', which also changes .*, and mdpo puts LoRA on .*; .*{MERGED}"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            r"this folder does not say how; merge it in the program that trains it",
        ),
        ({"init_lora_weights": "corda"}, r"this folder does not say how; merge it in the program that trains it"),
        (
            {"lora_bias": True},
            rf"lora_bias is True, so it also changes biases, .*{MERGED}.*; if they have none, train it",
        ),
        ({"bias": "lora_only"}, rf"bias is 'lora_only', so biases of the model are in the file, .*{MERGED}"),
        ({"alora_invocation_tokens": [3]}, r"is \[3\], so it acts only after these tokens, .*; train it again without"),
        (
            {"peft_type": "LOHA"},
            rf"peft_type is 'LOHA', and mdpo reads .* LORA alone; if peft can, merge it .*{MERGED}",
        ),
        ({"target_modules": None}, r"target_modules is missing, so it does not say which layers have LoRA; name them"),
    ],
)
@pytest.mark.parametrize("continued", [False, True], ids=["merged", "continued"])
def test_a_refused_option_says_why_and_what_would_work(
    options: dict[str, Any], told: str, continued: bool, tuned: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "sft"))
    known = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(known | options))
    more = {"continue_lora": True, "lora": LORA} if continued else {}
    with pytest.raises(DataError, match=rf"adapter_config.json: .*{told}"):
        adapter("llava", copy, **more).check()


@pytest.mark.filterwarnings("ignore:Adapter 'default'.* invalid shape")  # peft means the biases that it saves itself
@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"bias": "lora_only", "target_modules": r".*vision_tower.*(q_proj|v_proj)"},
        {"lora_bias": True, "target_modules": r".*vision_tower.*(q_proj|v_proj)"},
    ],
    ids=["pissa", "olora", "bias", "lora_bias"],
)
def test_what_the_sentence_says_to_do_gives_the_model_that_was_trained(
    options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    config = LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": OF_LANGUAGE, **options})
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned, new = tmp_path / "sft", tmp_path / "new"
    model.save_pretrained(tuned)
    with pytest.raises(DataError, match=MERGED):
        adapter("llava", tuned).check()

    of_peft(base, tuned).save_pretrained(new)  # type: ignore[operator]
    AutoProcessor.from_pretrained(base, backend="pil").save_pretrained(new)
    trained = model.merge_and_unload()
    require_weights(new, trained)
    plain = AutoModelForImageTextToText.from_pretrained(base).state_dict()
    assert any(not value.equal(plain[name]) for name, value in trained.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*eva:UserWarning")
@pytest.mark.parametrize("beginning", ["gaussian", "orthogonal", "eva", "mica", False])
def test_beginnings_that_leave_the_model_as_it_is_are_read(beginning: bool | str, base: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": OF_LANGUAGE, "init_lora_weights": beginning}
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    model.save_pretrained(tmp_path / "sft")
    require_weights(tmp_path / "sft", model.merge_and_unload())


def test_an_adapter_of_experts_alone_is_merged(tmp_path: Path) -> None:
    """peft writes null for target_modules that nobody named."""
    base = build_vlm("qwen3_vl_moe", tmp_path / "base")
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_parameters=experts)
    assert json.loads((tuned / "adapter_config.json").read_text())["target_modules"] is None
    expected = of_peft(base, tuned).state_dict()
    found = adapter("qwen3_vl_moe", tuned).load(Placement(), trainable=False).module.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0)
    with pytest.raises(DataError, match=r"target_parameters is .*, and none of experts; leave model.continue_lora out"):
        adapter("qwen3_vl_moe", tuned, continue_lora=True, lora={"rank": 4, "alpha": 16}).check()
