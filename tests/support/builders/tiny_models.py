"""LLaVAs in memory, built from configurations: every shape of head, attention and training that a scorer may meet."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from mdpo_vlm.families import FAMILIES
from mdpo_vlm.forward.attention import use_packed_attention
from mdpo_vlm.forward.last_layer import trim_last_layer
from mdpo_vlm.forward.model import VlmModel
from mdpo_vlm.parts.lora import add_lora, set_lora_dropout
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PhiConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from mdpo_core import Lora, PartTraining
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy, Reference

VOCAB = 61
IMAGE_TOKEN = 3
END = 2
HIDDEN = 32
PATCH = 14


@dataclass(frozen=True)
class Tiny:
    """A model to be built. ``side``: image tokens in a row of its square picture.

    What trains: LoRA on the language model's layers, on its head as well, the language model, or all parts.
    """

    text: Literal["llama", "grouped", "phi"] = "llama"
    trains: Literal["lora", "lora_and_head", "language", "all"] = "lora"
    biased_head: bool = False
    side: int = 2
    dropout: float = 0.0
    dtype: torch.dtype = torch.float32
    seed: int = 0
    trained: bool = True
    layers: int = 2

    @property
    def num_image_tokens(self) -> int:
        return self.side**2


@dataclass(frozen=True)
class Loaded:
    model: VlmModel
    reference: Reference
    frozen: VlmModel


@cache
def build(tiny: Tiny, recomputed: Literal["off", "full"] | int = "off") -> Loaded:
    """The model after some training (if ``trained``), and before. The same object every time: do not change it."""
    torch.manual_seed(tiny.seed)
    base = _base(tiny)
    before = copy.deepcopy(base)
    for each in (base, before):
        trim_last_layer(each)
    frozen = _model(before, before)
    model = _trainable(base, tiny)
    with torch.no_grad():
        for value in model.module.parameters():
            if tiny.trained and value.requires_grad:
                value.add_(torch.randn_like(value) * 0.05)
    recompute_in_backward(model.layers(), recomputed)
    lora = tiny.trains.startswith("lora")
    set_lora_dropout(model.module, training=tiny.dropout > 0)
    return Loaded(model, AdapterOff() if lora else FrozenCopy(frozen), frozen)


def _base(tiny: Tiny) -> LlavaForConditionalGeneration:
    base = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=HIDDEN,
                intermediate_size=HIDDEN,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=PATCH * tiny.side,
                patch_size=PATCH,
            ),
            text_config=_text_config(tiny.text, tiny.layers),
            image_token_id=IMAGE_TOKEN,
            image_seq_length=tiny.num_image_tokens,
        )
    )
    base.lm_head = nn.Linear(HIDDEN, VOCAB, bias=tiny.biased_head)
    use_packed_attention(base)
    base.requires_grad_(False).eval()
    with torch.no_grad():
        for value in base.parameters():
            # With the usual tiny weights every token is about as likely as any other, whatever it attends to.
            value.copy_(torch.randn_like(value) * 0.2 if value.ndim > 1 else value + torch.randn_like(value) * 0.2)
    base.to(tiny.dtype)
    if tiny.dtype == torch.float64:
        _norm_in_float64(base)
    return base


def _text_config(text: str, layers: int) -> Any:
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "bos_token_id": 1,
        "eos_token_id": END,
        "pad_token_id": END,
    }
    if text == "phi":
        return PhiConfig(**sizes, partial_rotary_factor=0.5)
    return LlamaConfig(**sizes, num_key_value_heads=2 if text == "grouped" else 4)


def _norm_in_float64(base: nn.Module) -> None:
    """Llama's norm rounds to float32, whatever the weights are; in float64 that would hide what is looked for."""
    for name, module in list(base.named_modules()):
        if isinstance(module, LlamaRMSNorm):
            norm = nn.RMSNorm(HIDDEN, module.variance_epsilon)
            norm.weight = module.weight
            base.set_submodule(name, norm)


def _model(module: nn.Module, base: LlavaForConditionalGeneration) -> VlmModel:
    return VlmModel(module, base, Path(), FAMILIES["llava"])


def _trainable(base: LlavaForConditionalGeneration, tiny: Tiny) -> VlmModel:
    if tiny.trains == "lora":
        lora = Lora(rank=2, alpha=4, dropout=tiny.dropout)
        return _model(add_lora(base, FAMILIES["llava"], {"language": PartTraining("lora", lora)}).eval(), base)
    if tiny.trains == "lora_and_head":
        config = LoraConfig(
            r=2,
            lora_alpha=4,
            lora_dropout=tiny.dropout,
            target_modules=r"(.*language_model.*(_proj|dense|fc1|fc2))|(.*lm_head)",
        )
        return _model(get_peft_model(base, config).eval(), base)
    model = _model(base, base)
    for part, names in model.parts().items():
        for name in names:
            base.get_parameter(name).requires_grad_(tiny.trains == "all" or part == "language")
    return model
