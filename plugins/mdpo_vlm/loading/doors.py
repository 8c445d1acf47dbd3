"""The class of transformers that makes a model from its configuration."""

from __future__ import annotations

from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    PreTrainedConfig,
)


def auto_class(config: PreTrainedConfig) -> Any:
    """`AutoModelForImageTextToText`, or `AutoModelForMultimodalLM` for a model that only the latter knows (Phi-4)."""
    is_known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForImageTextToText if is_known else AutoModelForMultimodalLM
