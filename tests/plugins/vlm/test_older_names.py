"""Adapters whose tensors have the names of older versions of transformers: read where plain peft reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.builders.continued import LORA, VISION, plain, tuned_by_peft
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter
from transformers import AutoModelForImageTextToText

from mdpo_core import DataError, Placement

PREFIX = "base_model.model."
# What versions called the modules: before 4.52, and before 5.
BEFORE_4_52 = {
    r"^model\.language_model\.": "language_model.model.",
    r"^model\.vision_tower\.": "vision_tower.vision_model.",
}
BEFORE_5 = {r"^model\.vision_tower\.": "model.vision_tower.vision_model."}
OF_QWEN = {r"^model\.language_model\.": "model.", r"^model\.visual\.": "visual."}
OF_PROJECTOR = {r"^model\.multi_modal_projector\.": "multi_modal_projector."}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))


def older(name: str, names: dict[str, str]) -> str:
    own = name.removeprefix(PREFIX)
    for now, before in names.items():
        own = re.sub(now, before, own)
    return PREFIX + own


def with_names(tuned: Path, names: dict[str, str]) -> Path:
    file = tuned / "adapter_model.safetensors"
    tensors = load_file(file)
    renamed = {older(name, names): value for name, value in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, file, metadata={"format": "pt"})
    return tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("base") / "model")


@pytest.mark.parametrize("names", [BEFORE_4_52, BEFORE_5], ids=["before_4_52", "before_5"])
def test_older_names_are_read_as_peft_reads_them(names: dict[str, str], base: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "up_proj"]}
    sound = tuned_by_peft(base, tmp_path / "sound", **options)
    tuned = with_names(tuned_by_peft(base, tmp_path / "sft", **options), names)

    of_peft = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned)
    expected = of_peft.merge_and_unload().state_dict()
    merged = adapter("llava", tuned)
    merged.check()
    for name, value in merged.load(Placement(), trainable=False).module.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)

    continued = adapter("llava", tuned, continue_lora=True, lora=LORA, parts={"vision": VISION})
    continued.check()
    trained = {
        name: value for name, value in continued.load(Placement()).module.named_parameters() if value.requires_grad
    }
    numbers = dict(plain(base, sound).named_parameters())
    for name, value in trained.items():
        torch.testing.assert_close(value, numbers[name], atol=0, rtol=0)


@pytest.mark.parametrize("continued", [False, True], ids=["merged", "continued"])
@pytest.mark.parametrize(
    ("family", "names", "targets", "told"),
    [
        (
            "qwen2_5_vl",
            OF_QWEN,
            ["q_proj", "v_proj"],
            r"model.layers.0.self_attn.q_proj for model.language_model.layers",
        ),
        (
            "llava",
            OF_PROJECTOR,
            ["linear_1"],
            r"multi_modal_projector.linear_1 for model.multi_modal_projector.linear_1",
        ),
    ],
)
def test_names_that_peft_does_not_translate_are_a_sentence(
    family: str, names: dict[str, str], targets: list[str], told: str, continued: bool, tmp_path: Path
) -> None:
    """Plain peft would leave these layers as they were before training, with no more than a warning."""
    folder = build_vlm(family, tmp_path / "base")
    tuned = with_names(tuned_by_peft(folder, tmp_path / "sft", r=4, lora_alpha=16, target_modules=targets), names)
    options = {"continue_lora": True, "lora": LORA | {"targets": targets}} if continued else {}
    if continued and family == "llava":
        projector = {"train": "lora", "lora": LORA | {"targets": targets}}
        options |= {"lora": None, "parts": {"projector": projector, "language": {"train": "frozen"}}}
    with pytest.raises(DataError, match=rf"names layers as another version of transformers does, {told}.*; merge it"):
        adapter(family, tuned, **options).check()
