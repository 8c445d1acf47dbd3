"""A linear layer with a low-rank adapter that adds no work except its matrix products."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor
from torch.autograd.function import once_differentiable


class LoraLinear(lora.Linear):  # type: ignore[misc]
    """Computes what peft's layer computes, but faster if there is one plain adapter.

    peft scales and adds whole outputs in separate passes, in the adapter's type: float32, even beside bfloat16 weights.
    Here the matrix product adds to the output directly, in the type of the input.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output ``(..., out_features)`` for ``x (..., in_features)``."""
        name = self._plain_adapter()
        if name is None or args or kwargs or torch.is_autocast_enabled(x.device.type):
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        output, inputs = self.base_layer(x), self.lora_dropout[name](x)
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        added: Tensor = _AddAdapter.apply(output, inputs, down, up, self.scaling[name])  # type: ignore[no-untyped-call]
        return added

    def _plain_adapter(self) -> str | None:
        """The name of the active adapter, or None if it is not one adapter with only the matrices A and B."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        name: str = self.active_adapters[0]
        return None if name in self.lora_variant or self.lora_bias[name] else name


class _AddAdapter(torch.autograd.Function):
    """Adds ``scaling * inputs @ down.T @ up.T`` to ``output`` in place."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, inputs: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
        inner = inputs.flatten(0, -2) @ down.to(inputs.dtype).T
        output.view(-1, output.shape[-1]).addmm_(inner, up.to(inputs.dtype).T, alpha=scaling)
        ctx.mark_dirty(output)
        ctx.save_for_backward(inputs, down, up, inner)
        ctx.scaling = scaling
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        inputs, down, up, inner = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        # Scale the smallest of the tensors.
        of_inner = rows @ up.to(rows.dtype) * ctx.scaling
        of_inputs = (of_inner @ down.to(rows.dtype)).view_as(inputs) if ctx.needs_input_grad[1] else None
        of_down = of_inner.T @ inputs.flatten(0, -2)
        of_up = rows.T @ inner * ctx.scaling
        return gradient, of_inputs, of_down.to(down.dtype), of_up.to(up.dtype), None
