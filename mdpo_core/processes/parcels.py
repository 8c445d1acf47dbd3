"""Values for another process: all their tensors of one dtype travel as one block."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parcel:
    """A pickled value and its tensors, concatenated by dtype.

    Torch sends each tensor to another process through a file descriptor. A batch would need hundreds of them, and a
    process has about a thousand.
    """

    content: bytes
    blocks: Mapping[torch.dtype, Tensor]


class _Place(NamedTuple):
    """Where a tensor is: the block of a dtype, the index of the first number there, the shape."""

    dtype: torch.dtype
    start: int
    shape: tuple[int, ...]


def pack(value: object) -> Parcel:
    """Pickle a value; copy its tensors into blocks."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(value)
    return Parcel(file.getvalue(), {dtype: torch.cat(parts) for dtype, parts in packer.parts.items()})


def unpack(parcel: Parcel) -> Any:
    """The value of a parcel. Its tensors are views of the blocks."""
    return _Unpacker(parcel).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.parts: dict[torch.dtype, list[Tensor]] = {}
        self._sizes: dict[torch.dtype, int] = {}
        # By the tensor's id. The tensor is kept, so that no other object gets its id.
        self._places: dict[int, tuple[Tensor, _Place]] = {}

    def persistent_id(self, obj: Any) -> _Place | None:
        # Torch pickles subclasses, and tensors that are more than their numbers.
        if type(obj) is not Tensor or obj.layout is not torch.strided or obj.requires_grad or not obj.is_cpu:
            return None
        if id(obj) not in self._places:
            self._places[id(obj)] = obj, self._add(obj)
        return self._places[id(obj)][1]

    def _add(self, tensor: Tensor) -> _Place:
        """Append a tensor to the block of its dtype."""
        start = self._sizes.get(tensor.dtype, 0)
        self._sizes[tensor.dtype] = start + tensor.numel()
        self.parts.setdefault(tensor.dtype, []).append(tensor.reshape(-1))
        return _Place(tensor.dtype, start, tuple(tensor.shape))


class _Unpacker(pickle.Unpickler):
    def __init__(self, parcel: Parcel) -> None:
        super().__init__(io.BytesIO(parcel.content))
        self._blocks = parcel.blocks

    def persistent_load(self, pid: _Place) -> Tensor:
        end = pid.start + torch.Size(pid.shape).numel()
        return self._blocks[pid.dtype][pid.start : end].view(pid.shape)
