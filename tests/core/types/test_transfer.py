"""Copies to a device."""

from __future__ import annotations

import torch

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
