"""The matrices of a model, from its modules: their sizes are the same however a backend splits or packs the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import nn

from mdpo_core.interfaces.model import VisionLanguageModel

# Modules of transformers that read the input of a layer side by side.
_SIDE_BY_SIDE = ("q_proj", "k_proj", "v_proj")
# Modules of peft that stand for a module that trains beside adapters: what it was before, and what it is.
_REPLACED, _SAVED = "original_module", "modules_to_save"


class Matrix(NamedTuple):
    """The matrix of a linear layer or of a convolution: ``inputs`` numbers enter it and ``outputs`` leave it."""

    path: tuple[str, ...]
    inputs: int
    outputs: int
    trains: bool

    @property
    def weight(self) -> str:
        """The name of its parameter in the module that was searched."""
        return ".".join((*self.path, "weight"))

    @property
    def is_adapter(self) -> bool:
        """Whether a frozen matrix is beside it, if it is of a part with adapters."""
        return self.trains and _SAVED not in self.path

    def is_in(self, names: Iterable[str]) -> bool:
        """Whether a module of one of these names holds it."""
        return any(name in self.path for name in names)


def matrices_of(module: nn.Module) -> list[Matrix]:
    """All linear layers and convolutions that compute, in order."""
    return [
        Matrix(tuple(name.split(".")), *_sizes(each), each.weight.requires_grad)
        for name, each in module.named_modules()
        if _is_matrix(each) and _REPLACED not in name.split(".")
    ]


def _is_matrix(module: Any) -> bool:
    # A layer with an adapter also says its size, and holds the linear layer.
    is_convolution = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return is_convolution or (hasattr(module, "in_features") and not any(module.children()))


def _sizes(module: Any) -> tuple[int, int]:
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.in_channels // module.groups * math.prod(module.kernel_size), module.out_channels


def behind(matrices: Iterable[Matrix], opened: bool) -> Iterator[tuple[Matrix, bool]]:
    """Each matrix of a layer, and whether backward computes the gradient of its input: something before it trains.

    ``opened``: something before the layer trains.
    """
    reached = opened
    beside: dict[str, bool] = {}
    for matrix in matrices:
        name = next((name for name in _SIDE_BY_SIDE if name in matrix.path), None)
        before = reached if name is None else beside.setdefault(name, opened)
        yield matrix, before
        reached |= matrix.trains
        if name is not None:
            beside[name] |= matrix.trains


def has_cross_attention(model: VisionLanguageModel) -> bool:
    """Whether a layer reads pictures beside its tokens, so that the tokens do not tell the operations."""
    return any("cross_attn" in name for layer in model.layers() for name, _ in layer.named_parameters())


def has_experts(model: VisionLanguageModel) -> bool:
    """Whether a layer has weights of which each token uses some, so that sizes do not tell the operations."""
    return any("expert" in name for layer in model.layers() for name, _ in layer.named_parameters())
