"""Weights that only the main process has read: the others know their names and shapes, and get the numbers."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, distributed, nn

from mdpo_core import current_world


class SentWeights:
    """Sends the tensors of a model from the main process to those that have them on torch's meta device.

    All processes create it and call it for the same modules in the same order. If no process lacks a tensor, none is
    sent.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        tensors = _tensors_of(model)
        self._unsent = {id(each) for each in tensors} if _any_process(any(each.is_meta for each in tensors)) else set()

    def complete(self, module: nn.Module) -> None:
        """Give ``module`` its numbers, on the device; tensors that were sent before are left out.

        A whole module is in memory then: call this for a layer, split it over the processes, and go on to the next.
        """
        for tensor in _tensors_of(module):
            if id(tensor) in self._unsent:
                self._unsent.remove(id(tensor))
                self._send(tensor)

    def _send(self, tensor: Tensor) -> None:
        if current_world().is_main:
            values = tensor.detach().to(self._device).contiguous()
        else:
            values = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        # As bytes, because gloo does not know every type.
        distributed.broadcast(values.flatten().view(torch.uint8), src=0)
        if tensor.is_meta:
            # The same object stays in all its places: weights may be tied, or listed elsewhere.
            if isinstance(tensor, nn.Parameter):
                values = nn.Parameter(values, requires_grad=tensor.requires_grad)
            torch.utils.swap_tensors(tensor, values)  # type: ignore[no-untyped-call]  # torch's


def _tensors_of(module: nn.Module) -> list[Tensor]:
    return list(chain(module.parameters(), module.buffers()))


def _any_process(here: bool) -> bool:
    return any(current_world().gather(here))
