"""Copies to a device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdpo_core.types.transfer import all_to_device


def test_tensors_of_one_shape_and_type_are_copied_together() -> None:
    shapes = [(2, 3), (3, 2), (2, 3), (), (2, 3)]
    tensors = [torch.rand(shape) for shape in shapes]
    tensors[4] = tensors[4].double()
    moved = all_to_device(tensors, torch.device("cpu"))
    for before, after in zip(tensors, moved, strict=True):
        assert before.equal(after)
        assert before.dtype == after.dtype
    assert moved[0].untyped_storage().data_ptr() == moved[2].untyped_storage().data_ptr()
    assert len({tensor.untyped_storage().data_ptr() for tensor in moved}) == 4
    assert all_to_device([], torch.device("cpu")) == []


def test_pictures_travel_to_cuda_in_one_copy_from_locked_pages_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[Tensor] = []
    copies: list[tuple[bool, torch.device, bool]] = []

    def pin_memory(values: Tensor) -> Tensor:
        locked.append(values)
        return values

    def to(values: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
        copies.append((any(values is each for each in locked), device, non_blocking))
        return values

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(Tensor, "to", to)
    pictures, cuda = [torch.rand(3, 14, 14) for _ in range(8)], torch.device("cuda", 0)
    moved = all_to_device(pictures, cuda)
    assert copies == [(True, cuda, True)]
    assert all(each.equal(other) for each, other in zip(moved, pictures, strict=True))
    copies.clear()
    all_to_device(pictures, torch.device("cpu"))
    # Locked pages are dear: only CUDA needs them.
    assert copies == [(False, torch.device("cpu"), True)]
