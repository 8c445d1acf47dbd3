"""Find the part of a model that a parameter belongs to."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from mdpo_core import Part
from mdpo_vlm.families import Family


class PartNames:
    """Finds the part of a parameter by its full name: vision, language, or (all others) the projector."""

    def __init__(self, base: PreTrainedModel, family: Family) -> None:
        self._vision = _inside(base, image_encoder(base))
        self._language = tuple(_inside(base, each) for each in (decoder_of(base), base.get_output_embeddings()))
        self._projector = family.projector

    def part_of(self, name: str) -> Part:
        """The part that the parameter with this full name belongs to."""
        if name.startswith(self._vision):
            return "projector" if re.search(self._projector, name) else "vision"
        return "language" if name.startswith(self._language) else "projector"


def image_encoder(base: PreTrainedModel) -> nn.Module:
    """The vision encoder: a module that a family's models name as most do, or the one that embeds patches (Gemma 4)."""
    found: nn.Module = base.get_encoder("image")
    return getattr(base.model, "embed_vision", found) if found is base else found


def decoder_of(base: PreTrainedModel) -> Any:
    """The language model without its head; transformers takes Llama 4's with its head for it."""
    found: Any = base.get_decoder()
    return found if hasattr(found, "layers") else found.model


def _inside(base: nn.Module, module: nn.Module) -> str:
    return next(f"{name}." for name, each in base.named_modules() if each is module)
