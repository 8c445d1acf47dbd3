"""Read properties of a model from its configuration, without its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel

from mdpo_vlm.files.config import load_config
from mdpo_vlm.files.damage import reading

_SECONDS = 15.0


def sliding_window(folder: Path) -> int | None:
    """The number of tokens that the language model can look back, or None if there is no limit."""
    text = load_config(folder).get_text_config()
    window: int | None = getattr(text, "sliding_window", None)
    return window


def without_weights(folder: Path) -> PreTrainedModel:
    """The model of a folder on torch's meta device: it has names and shapes, but no numbers."""
    config = load_config(folder)
    with reading(folder / "config.json", "transformers cannot build its model", [], _SECONDS), torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
        model.tie_weights()
    return model
