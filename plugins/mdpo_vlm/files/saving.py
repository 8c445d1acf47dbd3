"""Save models as transformers does."""

from __future__ import annotations

from pathlib import Path

import accelerate.utils.other as unwrapping
from transformers import PreTrainedModel


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write the weights and the configuration of a model that no engine wraps.

    transformers imports DeepSpeed, where it is installed, to take a model out of its engine. That takes seconds, and
    DeepSpeed warns where there is no GPU.
    """
    is_installed = unwrapping.is_deepspeed_available
    unwrapping.is_deepspeed_available = lambda: False
    try:
        model.save_pretrained(folder)
    finally:
        unwrapping.is_deepspeed_available = is_installed
