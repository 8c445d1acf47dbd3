"""The modules of a model by full name, and their properties that decide whether they can train."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mdpo_core import Part
from mdpo_vlm.families import Family
from mdpo_vlm.parts.idle import idle_parameters
from mdpo_vlm.parts.names import PartNames, image_encoder

_LINEAR = (nn.Linear, Conv1D)
_ADAPTABLE = (*_LINEAR, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Linear layers with outputs of their own, which no adapter could be added to, by the names of their classes.
_ROUTERS = ("Llama4Router",)
_LISTS = (nn.ModuleList, nn.ModuleDict)


class Modules:
    """The modules of a plain model, without adapters. Methods take a module's full name.

    ``of_part`` lists the modules of each part. It leaves out modules whose parameters belong to several parts.
    ``experts``: the parameters of each part that hold one matrix for each expert.
    """

    def __init__(self, base: PreTrainedModel, family: Family) -> None:
        self._modules = dict(base.named_modules())
        self._head = base.get_output_embeddings()
        self._encoder = image_encoder(base)
        self._idle = idle_parameters(base, family)
        self._tied = _tied_names(base)
        self._unadaptable = family.unadaptable
        names = PartNames(base, family)
        self.of_part: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
        self.experts: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
        for name, module in self._modules.items():
            parts = {names.part_of(f"{name}.{inner}") for inner, _ in module.named_parameters()}
            if len(parts) == 1 and name:
                [part] = parts
                self.of_part[part].append(name)
                self.experts[part] += _experts_of(name, module)

    def with_type(self, name: str) -> str:
        """The name and the module's class, as in ``model.layers (ModuleList)``."""
        return f"{name} ({type(self._modules[name]).__name__})"

    def is_list(self, name: str) -> bool:
        """True for a list or dictionary of modules, which has no forward."""
        return isinstance(self._modules[name], _LISTS)

    def is_image_encoder(self, name: str) -> bool:
        """True for the whole vision encoder."""
        return self._modules[name] is self._encoder

    def is_adaptable(self, name: str) -> bool:
        """True for a type of module that LoRA can adapt."""
        return isinstance(self._modules[name], _ADAPTABLE) and not self._is_router(name)

    def _is_router(self, name: str) -> bool:
        return type(self._modules[name]).__name__ in _ROUTERS

    def is_like_expert(self, name: str) -> bool:
        """True if peft would take the layer's name for that of an expert."""
        return re.search(self._unadaptable, name) is not None

    def is_inner_linear(self, name: str) -> bool:
        """True for a linear layer that ``all-linear`` includes: it trains, and is not the head."""
        module = self._modules[name]
        # torch's attention reads the weights of its layers without calling them.
        parent = self._modules.get(name.rpartition(".")[0])
        inner = module is not self._head and not isinstance(parent, nn.MultiheadAttention)
        inner = inner and not self.is_like_expert(name) and not self._is_router(name)
        return isinstance(module, _LINEAR) and inner and not self.has_idle(name)

    def has_idle(self, name: str) -> bool:
        """True if no gradient reaches some parameter of the module."""
        return any(f"{name}.{inner}" in self._idle for inner, _ in self._modules[name].named_parameters())

    def is_quantized(self, name: str) -> bool:
        """True if some parameter is not floating point."""
        return not all(parameter.is_floating_point() for parameter in self._modules[name].parameters())

    def tied_to(self, name: str) -> str | None:
        """A parameter outside the module that shares its values with one inside, or None."""
        inside = [f"{name}.{inner}" for inner, _ in self._modules[name].named_parameters(remove_duplicate=False)]
        outside = (other for parameter in inside for other in self._tied.get(parameter, ()) if other not in inside)
        return next(outside, None)


def _experts_of(name: str, module: nn.Module) -> list[str]:
    """The full names of a module's own parameters that are several matrices of experts."""
    if not name.endswith("experts"):
        return []
    # ZeRO-3 keeps the shape of a weight apart.
    own = {inner: getattr(each, "ds_shape", each.shape) for inner, each in module.named_parameters(recurse=False)}
    return [f"{name}.{inner}" for inner, shape in own.items() if len(shape) == 3]


def _tied_names(base: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter that has several names, under each of them."""
    names: dict[int, list[str]] = {}
    for name, parameter in base.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: group for group in names.values() if len(group) > 1 for name in group}


def outermost(names: Sequence[str]) -> list[str]:
    """The sorted names of modules that are not inside another module of ``names``."""
    kept: list[str] = []
    # A module's name is shorter than the names of the modules inside it.
    for name in sorted(set(names), key=len):
        if not is_inside(name, kept):
            kept.append(name)
    return sorted(kept)


def is_inside(name: str, outer: Sequence[str]) -> bool:
    """True if the module ``name`` lies inside one of ``outer``, and is not one of them."""
    return name.startswith(tuple(f"{each}." for each in outer))
