"""How many numbers a model has, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from mdpo_core import VisionLanguageModel


@dataclass(frozen=True)
class Share:
    """Numbers (parameters) of a part of a model, and those of them that train."""

    numbers: int
    trained: int

    @property
    def frozen(self) -> int:
        return self.numbers - self.trained

    def __add__(self, other: Share) -> Share:
        return Share(self.numbers + other.numbers, self.trained + other.trained)


@dataclass(frozen=True)
class Parts:
    """A model as backends see it: layers of the language model, layers of the vision tower, and what is in neither.

    ``words``: numbers of input embeddings and head, which are in neither.
    """

    layers: Share
    vision: Share
    rest: Share
    largest_layer: int
    vision_layers: int
    words: int

    @property
    def all(self) -> Share:
        return self.layers + self.vision + self.rest


def parts_of(model: VisionLanguageModel) -> Parts:
    """Count a loaded model's; weights may be shared out already (ZeRO-3)."""
    from mdpo_core import layers_of

    layers = [list(layer.parameters()) for layer in model.layers()]
    towers = [list(layer.parameters()) for layer in layers_of(model)[len(layers) :]]
    words = [value for name, value in model.module.named_parameters() if "embed_tokens" in name or "lm_head" in name]
    seen = {id(value) for layer in (*layers, *towers) for value in layer}
    rest = [value for value in model.module.parameters() if id(value) not in seen]
    return Parts(
        _share(value for layer in layers for value in layer),
        _share(value for layer in towers for value in layer),
        _share(rest),
        max(_share(layer).numbers for layer in layers),
        len(towers),
        _share(words).numbers,
    )


def _share(parameters: Iterable[nn.Parameter]) -> Share:
    found = [(math.prod(getattr(value, "ds_shape", value.shape)), value.requires_grad) for value in parameters]
    return Share(sum(numbers for numbers, _ in found), sum(numbers for numbers, trains in found if trains))
