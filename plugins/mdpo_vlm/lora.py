"""Low-rank adapters through peft."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from mdpo_core import Lora
from mdpo_vlm.lora_linear import LoraLinear


def add_lora(model: PreTrainedModel, lora: Lora) -> PeftModel:
    """Adapters on every linear layer of the language model; peft leaves the head out by itself."""
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        exclude_modules=rf"(?!{re.escape(prefix)}\.).*",
        task_type="CAUSAL_LM",
    )
    if not getattr(model, "is_loaded_in_4bit", False):
        # Those of 4 bits are nn.Linear, too, and take peft's own.
        config._register_custom_module({nn.Linear: LoraLinear})
    with warnings.catch_warnings():
        # peft asks transformers by a name that it has deprecated; nothing that a user could mend.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def set_lora_dropout(model: nn.Module, training: bool) -> None:
    """Switch the adapters' dropout; no other module changes its mode."""
    for name, module in model.named_modules():
        if name.endswith("lora_dropout"):
            module.train(training)


def save_lora(model: PeftModel, folder: Path) -> None:
    """Write the adapter, the same bytes every time."""
    # peft keeps the names of its targets in a set, whose order changes from process to process.
    for config in model.peft_config.values():
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(folder)
    # A card with blanks to fill in, which is none of ours to publish.
    (folder / "README.md").unlink(missing_ok=True)
