"""The sizes of layers in 4 bits, for a model without numbers: bitsandbytes itself needs numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BLOCK = 64  # numbers that share a scale, of 8 bits
_SUPER_BLOCK = 256  # scales that share a scale, of 32 bits


class FourBitLinear(nn.Linear):
    """A frozen linear layer as bitsandbytes keeps it (nf4, scales quantized too), without arithmetic.

    Its weight is made whole, in the type of the input, for each product, forward and backward.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        numbers = linear.weight.numel()
        self.weight = nn.Parameter(torch.empty(-(-numbers // 2), 1, dtype=torch.uint8), requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("scales", torch.empty(-(-numbers // _BLOCK), dtype=torch.uint8))
        self.register_buffer("scales_of_scales", torch.empty(-(-numbers // (_BLOCK * _SUPER_BLOCK))))

    def forward(self, input: Tensor) -> Tensor:
        """The output ``(..., out_features)`` for ``input (..., in_features)``."""
        output: Tensor = _Product.apply(input, self.out_features)  # type: ignore[no-untyped-call]  # torch's
        return output if self.bias is None else output + self.bias


class _Product(torch.autograd.Function):
    """Keeps nothing for backward."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, out_features: int) -> Tensor:
        ctx.shape = inputs.shape
        weight = inputs.new_empty(out_features, inputs.shape[-1])
        return inputs @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        weight = gradient.new_empty(gradient.shape[-1], ctx.shape[-1])
        return gradient @ weight, None


def quantize_sketch(module: nn.Module) -> None:
    """Replace all linear layers inside ``module`` by layers in 4 bits."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, FourBitLinear(child))
