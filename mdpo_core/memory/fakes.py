"""Weights without numbers, and attention without arithmetic, on which a step runs in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from mdpo_core.types.layout import Packed


def fake_mode() -> FakeTensorMode:
    """A mode for fake tensors that may meet real ones: a batch keeps its numbers, since code looks at them."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def make_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace each parameter and buffer by a fake tensor of its shape and type; tied ones stay tied."""
    made: dict[int, Any] = {}

    def fake(value: Tensor) -> Any:
        if id(value) not in made:
            with mode:
                empty = torch.empty(value.shape, dtype=value.dtype)
            is_parameter = isinstance(value, nn.Parameter)
            made[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad) if is_parameter else empty
        return made[id(value)]

    for each in module.modules():
        # Some modules keep tensors as plain attributes.
        for values in (each._parameters, each._buffers, vars(each)):
            values.update({name: fake(value) for name, value in values.items() if isinstance(value, Tensor)})


class FakesMeetNumbers(TorchFunctionMode):
    """Lets code use fake tensors beside real ones where torch's mode alone would fail.

    An index that is a mask with real numbers selects a known number of places. ``pad_sequence`` of fake tensors makes
    a fake one: it asks for memory in a way that torch's mode misses. ``torch.tensor`` of a list of fake tensors, each a
    number, makes one: it would read them. Products with the matrices of experts take any type, as on real devices.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in _INDEXING and isinstance(args[0], FakeTensor):
            return func(args[0], _as_numbers(args[1]), *args[2:])
        if func is torch.tensor and isinstance(args[0], list) and any(isinstance(each, FakeTensor) for each in args[0]):
            with self._mode:
                return torch.stack(args[0])
        if func.__name__ == "pad_sequence" and any(isinstance(each, FakeTensor) for each in args[0]):
            with self._mode:
                return func(*args, **options)
        if func.__name__ == "_grouped_mm" and isinstance(args[0], FakeTensor):
            return _Grouped.apply(*args[:2])  # type: ignore[no-untyped-call]  # torch's
        return func(*args, **options)


_INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


def _as_numbers(index: Any) -> Any:
    """The index with the numbers of the places instead of real masks."""
    parts = index if isinstance(index, tuple) else (index,)
    numbered: list[Any] = []
    for part in parts:
        is_mask = isinstance(part, Tensor) and part.dtype == torch.bool and not isinstance(part, FakeTensor)
        numbered += part.nonzero(as_tuple=True) if is_mask else [part]
    return tuple(numbered)


class _Grouped(torch.autograd.Function):
    """What is kept of a product: tokens ``(tokens, inputs)`` and matrices of experts ``(experts, inputs, outputs)``."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(tokens if matrices.requires_grad else None, matrices if tokens.requires_grad else None)
        ctx.shapes = tokens.shape, matrices.shape
        return tokens.new_empty(len(tokens), matrices.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.shapes, ctx.needs_input_grad, strict=True)
        return tuple(gradients[0].new_empty(shape) if needed else None for shape, needed in pairs)


class _Fused(torch.autograd.Function):
    """What a fused kernel keeps for backward: query, key, value, output, and a float32 number for each query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # Like a real kernel's, it lies in memory as the query does: what follows then copies nothing.
        same = value.shape[-1] == query.shape[-1]
        output = torch.empty_like(query) if same else query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, key, value, _, sums = ctx.saved_tensors
        products = torch.empty_like(sums)  # of each output with its gradient
        made = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del products
        return made


def fused_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """The memory of FlexAttention's kernel on a GPU, without its numbers."""
    attended: Tensor = _Fused.apply(query, key, value)  # type: ignore[no-untyped-call]  # torch's
    return attended
