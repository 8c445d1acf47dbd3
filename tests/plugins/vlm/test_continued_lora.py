"""`model.continue_lora`: an adapter of peft is trained on, beside its model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm import TransformersAdapter
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import examples
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import DataError, ModelAdapter, Placement, RecipeError, component, load_recipe, load_trained, run
from mdpo_core.interfaces.model import Decoding
from mdpo_core.storage.export import export_run
from mdpo_core.testing import check_adapter

LORA = {"rank": 4, "alpha": 16, "targets": ["q_proj", "v_proj", "up_proj"]}
VISION = {"train": "lora", "lora": LORA | {"targets": ["q_proj", "v_proj"]}}
QUESTION = "What is in the picture?"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("base"))


def tuned_by_peft(base: Path, folder: Path, **options: Any) -> Path:
    """An adapter as peft alone saves it after some training."""
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """peft finds the names of its list in the vision encoder, too."""
    targets = ["q_proj", "v_proj", "up_proj"]
    return tuned_by_peft(base, tmp_path_factory.mktemp("tuned") / "sft", r=4, lora_alpha=16, target_modules=targets)


def adapter(path: Path, **options: Any) -> ModelAdapter:
    known = {"lora": LORA, "parts": {"vision": VISION}, "continue_lora": True}
    made = component("adapter", "chat_vlm", path=str(path), **known | options)
    assert isinstance(made, ModelAdapter)
    return made


def plain(base: Path, tuned: Path) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned, is_trainable=True)


def test_it_keeps_the_contract_of_adapters(base: Path, tuned: Path, photographs: Path) -> None:
    def reload(folder: Path) -> torch.nn.Module:
        return plain(base, folder)

    check_adapter(adapter(tuned), examples("llava", photographs), reload)


def numbers_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.named_parameters() if ".default." in name}


def test_what_trains_are_the_weights_of_the_adapter_and_the_start_stays(base: Path, tuned: Path) -> None:
    model = adapter(tuned).load(Placement()).module
    expected = {name: value for name, value in numbers_of(plain(base, tuned)).items() if "layers.1." not in name}
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    found = {name: value for name, value in trained.items() if "layers.1." not in name}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)
    start = {name: value for name, value in model.named_buffers() if ".start." in name}
    assert start.keys() == {name.replace(".default.", ".start.") for name in trained}
    assert not start.keys() & model.state_dict().keys()
