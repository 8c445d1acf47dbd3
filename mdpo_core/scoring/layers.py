"""The layers of a model, which backends may gather, place and compute one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from mdpo_core.interfaces.model import LayeredModel


def layers_of(model: LayeredModel) -> Sequence[nn.Module]:
    """The layers of the language model and of the vision encoder, none inside another."""
    return [*model.layers(), *_vision_layers(model)]


def _vision_layers(model: LayeredModel) -> Iterator[nn.Module]:
    """The members of the outermost module lists that only have parameters of the vision part."""
    from torch import nn

    vision = set(model.parts()["vision"])
    outermost: list[str] = []
    for name, module in model.module.named_modules():
        if not isinstance(module, nn.ModuleList) or name.startswith(tuple(f"{outer}." for outer in outermost)):
            continue
        held = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if held and held <= vision:
            outermost.append(name)
            yield from module
