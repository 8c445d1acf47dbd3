"""Find the part of a model that a parameter belongs to."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from mdpo_core import Part
from mdpo_vlm.families import Family

# Gemma 4 embeds patches without an encoder; Phi-4's encoder is inside its embedding.
_OTHER_NAMES = ("model.embed_vision", "model.embed_tokens_extend.image_embed.img_processor")


class PartNames:
    """Finds the part of a parameter by its full name: vision, language, or (all others) the projector."""

    def __init__(self, base: PreTrainedModel, family: Family) -> None:
        self._vision = _inside(base, image_encoder(base))
        self._language = tuple(_inside(base, each) for each in (decoder_of(base), base.get_output_embeddings()))
        self._projector = family.projector

    def part_of(self, name: str) -> Part:
        """The part that the parameter with this full name belongs to."""
        if re.search(self._projector, name):
            return "projector"
        if name.startswith(self._vision):
            return "vision"
        return "language" if name.startswith(self._language) else "projector"


def image_encoder(base: PreTrainedModel) -> nn.Module:
    """The vision encoder: the module that transformers finds by its usual names, or one with a name of its family."""
    found: nn.Module = base.get_encoder("image")
    if found is not base:
        return found
    inside: dict[str, nn.Module] = dict(base.named_modules())
    return next((inside[name] for name in _OTHER_NAMES if name in inside), found)


def decoder_of(base: PreTrainedModel) -> Any:
    """The language model without its head; transformers takes Llama 4's with its head for it."""
    found: Any = base.get_decoder()
    return found if hasattr(found, "layers") else found.model


def _inside(base: nn.Module, module: nn.Module) -> str:
    return next(f"{name}." for name, each in base.named_modules() if each is module)
