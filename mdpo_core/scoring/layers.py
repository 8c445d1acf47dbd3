"""The layers of a model, which backends may gather, place and compute one at a time; what modules return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

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


@contextmanager
def returned_by(modules: Sequence[nn.Module], index: int = 0) -> Iterator[list[Tensor]]:
    """Collect what modules return inside the ``with``, or the tensor number ``index`` of it, in the order of the calls.

    Backward, which may compute them again, comes later.
    """
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output[index] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
