"""Copies from the CPU to a device, for which the host does not wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mdpo_core.types.batch import ImageInputs


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``. CUDA copies while the host goes on, if the memory on the CPU is page-locked."""
    locks_pages = device.type == "cuda" and values.device.type == "cpu"
    return (values.pin_memory() if locks_pages else values).to(device, non_blocking=True)


def all_to_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors on ``device``; those of one shape and type in one copy."""
    import torch

    alike: dict[tuple[torch.Size, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        alike.setdefault((tensor.shape, tensor.dtype), []).append(index)
    moved: dict[int, Tensor] = {}
    for indices in alike.values():
        together = to_device(torch.stack([tensors[index] for index in indices]), device)
        moved |= dict(zip(indices, together.unbind(), strict=True))
    return [moved[index] for index in range(len(tensors))]


class MovedInputs(dict[str, "Tensor"]):
    """The inputs of an image on a device. ``on_cpu``: the same on the CPU."""

    def __init__(self, inputs: ImageInputs, on_cpu: ImageInputs) -> None:
        super().__init__(inputs)
        self.on_cpu = on_cpu


def on_cpu(inputs: ImageInputs, name: str) -> Tensor:
    """An input of an image on the CPU, for code that reads its numbers.

    The scorer's images keep theirs there. For other inputs on a device, the host waits for a copy.
    """
    kept = inputs.on_cpu if isinstance(inputs, MovedInputs) else inputs
    return kept[name].cpu()
