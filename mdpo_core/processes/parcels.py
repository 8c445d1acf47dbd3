"""Values on their way between processes: the tensors of one type travel as one block."""

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
    """A pickled value and its tensors, put together by type.

    Torch hands each tensor to another process through a file descriptor, of which a batch would need hundreds and a
    process has about a thousand.
    """

    content: bytes
    blocks: Mapping[torch.dtype, Tensor]


class _Place(NamedTuple):
    dtype: torch.dtype
    start: int
    shape: tuple[int, ...]


def pack(value: object) -> Parcel:
    """Take a value apart; its tensors are copied."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(value)
    return Parcel(file.getvalue(), {dtype: torch.cat(parts) for dtype, parts in packer.parts.items()})


def unpack(parcel: Parcel) -> Any:
    """Put a value together again; its tensors are views of the blocks."""
    return _Unpacker(parcel).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.parts: dict[torch.dtype, list[Tensor]] = {}
        self._sizes: dict[torch.dtype, int] = {}
        # With the tensor, which keeps its id from being given to another one.
        self._places: dict[int, tuple[Tensor, _Place]] = {}

    def persistent_id(self, obj: Any) -> _Place | None:
        # Subclasses, and what is more than its numbers, are pickled as torch does it.
        if type(obj) is not Tensor or obj.layout is not torch.strided or obj.requires_grad or not obj.is_cpu:
            return None
        if id(obj) not in self._places:
            self._places[id(obj)] = obj, self._add(obj)
        return self._places[id(obj)][1]

    def _add(self, tensor: Tensor) -> _Place:
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
