"""What the configuration of a model says about it, without reading weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel


def sliding_window(folder: Path) -> int | None:
    """The number of tokens that the language model can look back, or None if there is no limit."""
    text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    window: int | None = getattr(text, "sliding_window", None)
    return window


def without_weights(folder: Path) -> PreTrainedModel:
    """The model of a folder on torch's meta device: it has names and shapes, but no numbers."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model
