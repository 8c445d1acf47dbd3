"""Linear layers with a low-rank adapter that adds no work except its matrix products."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mdpo_core import device_of
from mdpo_vlm.parts.dropout import draw_dropped, drop_, without


class InPlaceAdapter(lora.LoraLayer):  # type: ignore[misc]
    """Comes before a layer of peft, and computes what that layer computes, but faster if there is one plain adapter.

    peft scales and adds whole outputs in separate passes, in the adapter's type: float32, even beside bfloat16 weights.
    Here the matrix product adds to the output directly, in the type of the input.

    With dropout, peft's layer keeps a dropped input and its mask for backward. This one keeps only its plain input,
    which all layers with the same input share, and what it dropped.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output ``(..., out_features)`` for ``x (..., in_features)``."""
        name = self._plain_adapter()
        if name is None or args or kwargs or torch.is_autocast_enabled(x.device.type):
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        if torch.compiler.is_compiling():
            return self._for_the_compiler(x, name)
        weights = self.lora_A[name].weight, self.lora_B[name].weight
        # The estimate of memory tries a GPU's step on a CPU, and a backend may keep a GPU's weights there.
        on_cpu = x.is_cpu and device_of(self).type == "cpu"
        numbers = self.scaling[name], self._dropout(name), on_cpu
        added: Tensor = _AddAdapter.apply(self._base_output(x), x, *weights, *numbers)  # type: ignore[no-untyped-call]
        return added

    def _base_output(self, x: Tensor) -> Tensor:
        """The output without the adapter, which is then added to it in place."""
        output: Tensor = self.base_layer(x)
        return output

    def _for_the_compiler(self, x: Tensor, name: str) -> Tensor:
        """The same in plain operators: torch does not trace a function well that changes its input in place."""
        down, up = (layers[name].weight.to(x.dtype) for layers in (self.lora_A, self.lora_B))
        inner = F.linear(F.dropout(x, self._dropout(name)), down)
        added: Tensor = self._base_output(x) + F.linear(inner, up) * self.scaling[name]
        return added

    def _plain_adapter(self) -> str | None:
        """The name of the active adapter, or None if it is not one adapter with only the matrices A and B."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        name: str = self.active_adapters[0]
        return None if name in self.lora_variant or self.lora_bias[name] else name

    def _dropout(self, name: str) -> float:
        """The share of the input that the adapter drops now."""
        module = self.lora_dropout[name]
        return module.p if isinstance(module, nn.Dropout) and module.training else 0.0


class LoraLinear(InPlaceAdapter, lora.Linear):  # type: ignore[misc]
    """An adapter beside weights of 16 or 32 bits."""


@cache
def over_quantized(layer: type[lora.LoraLayer]) -> type[InPlaceAdapter]:
    """The same beside weights that are made whole for each product. ``layer``: peft's layer for them."""

    class LoraOverQuantized(InPlaceAdapter, layer):  # type: ignore[misc]
        def _base_output(self, x: Tensor) -> Tensor:
            output = super()._base_output(x)
            # Their product may give a view that it made itself, which autograd lets nobody change in place.
            return output.clone() if output._is_view() else output

    return LoraOverQuantized


class _AddAdapter(torch.autograd.Function):
    """Adds ``scaling * dropout(inputs) @ down.T @ up.T`` to ``output`` in place."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, inputs: Tensor, down: Tensor, up: Tensor, scaling: float, dropout: float, on_cpu: bool
    ) -> Tensor:
        dropped = draw_dropped(inputs, dropout, on_cpu=on_cpu) if dropout else None
        read = inputs if dropped is None else without(inputs, dropped)
        # Dropout also divides what it keeps. Here the smallest of the tensors takes all factors.
        factor = scaling / (1 - dropout)
        inner = read.flatten(0, -2) @ down.to(inputs.dtype).T
        output.view(-1, output.shape[-1]).addmm_(inner, up.to(inputs.dtype).T, alpha=factor)
        ctx.mark_dirty(output)
        ctx.save_for_backward(inputs, down, up, inner, dropped)
        ctx.factor = factor
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        inputs, down, up, inner, dropped = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        of_inner = rows @ up.to(rows.dtype) * ctx.factor
        of_inputs = (of_inner @ down.to(rows.dtype)).view_as(inputs) if ctx.needs_input_grad[1] else None
        if dropped is not None:
            inputs = without(inputs, dropped)
            of_inputs = None if of_inputs is None else drop_(of_inputs, dropped)
        of_down = of_inner.T @ inputs.flatten(0, -2)
        of_up = rows.T @ inner * ctx.factor
        return gradient, of_inputs, of_down.to(down.dtype), of_up.to(up.dtype), None, None, None
