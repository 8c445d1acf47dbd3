"""An adapter of peft that was trained before, and the options with which a recipe trains it on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText

# What peft puts on for q_proj, v_proj and up_proj in LLaVA: it finds two of them in the vision encoder, too.
TARGETS = ["q_proj", "v_proj", "up_proj"]
LORA = {"rank": 4, "alpha": 16, "targets": TARGETS, "dropout": 0.0}
# Parameters of peft that are zero, or those of the model, before training.
TRAINED = ("lora_B", "lora_embedding_A", "magnitude", "modules_to_save")
VISION = {"train": "lora", "lora": LORA | {"targets": ["q_proj", "v_proj"]}}


def tuned_by_peft(base: Path, folder: Path, *, save: Mapping[str, Any] = MappingProxyType({}), **options: Any) -> Path:
    """An adapter as peft alone saves it after some training.

    ``options``: of `LoraConfig`; ``save``: of peft's ``save_pretrained``.
    """
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(word in name for word in TRAINED):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **save)
    return folder


def plain(base: Path, tuned: Path) -> PeftModel:
    """The adapter on its model, as plain peft trains it on."""
    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned, is_trainable=True)
