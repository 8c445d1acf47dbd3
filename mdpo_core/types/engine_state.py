"""What an engine must remember, as numbers by name: one form for every backend and any number of processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

# How names of the policy's parameters begin, in the scorer and in checkpoints.
POLICY_PREFIX = "policy."
# What AdamW remembers of each parameter beside its number of steps, by the names that torch and checkpoints give it.
MOMENTS = ("exp_avg", "exp_avg_sq")
_SHAPES = "shapes"


class TensorSlice(NamedTuple):
    """Some of a tensor's numbers, side by side once it is laid out flat.

    ``name``: ``<what>:<parameter>``, where what is ``weight``, ``exp_avg``, ``exp_avg_sq`` or ``step``. ``values``:
    ``(numbers,)`` on the CPU, from the place ``start`` on. ``shape``: of the whole tensor.
    """

    name: str
    values: Tensor
    start: int
    shape: tuple[int, ...]


def whole_tensor(name: str, tensor: Tensor) -> TensorSlice:
    """A tensor in one piece."""
    return TensorSlice(name, tensor.detach().reshape(-1).cpu(), 0, tuple(tensor.shape))


def write_state(pieces: Iterable[TensorSlice], file: Path) -> None:
    """Write what one process remembers."""
    from safetensors.torch import save_file

    tensors, shapes = {}, {}
    for name, values, start, shape in pieces:
        # A tensor of its own: safetensors refuses those that share memory.
        tensors[f"{name}@{start}"] = values.clone()
        shapes[name] = shape
    save_file(tensors, file, {_SHAPES: json.dumps(shapes)})


class _Stored(NamedTuple):
    """Where a piece is."""

    start: int
    stop: int
    file: Path
    key: str


class SavedEngineState:
    """What all processes of a run wrote, put together by name; read as it is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        from safetensors import safe_open

        self._pieces: dict[str, list[_Stored]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._unread: set[str] = set()
        for path in files:
            with safe_open(path, "pt") as file:
                shapes = json.loads(file.metadata()[_SHAPES])
                self._shapes |= {name: tuple(shape) for name, shape in shapes.items()}
                for key in file.keys():  # noqa: SIM118  # a handle, and no mapping
                    name, _, start = key.rpartition("@")
                    [numbers] = file.get_slice(key).get_shape()
                    stored = _Stored(int(start), int(start) + numbers, path, key)
                    self._pieces.setdefault(name, []).append(stored)
        for pieces in self._pieces.values():
            pieces.sort()
        self._unread = set(self._pieces)

    def __contains__(self, name: str) -> bool:
        return name in self._pieces

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def whole(self, name: str, shape: Sequence[int]) -> Tensor:
        """A tensor, which must have been saved in this shape."""
        return self.read(name, shape).reshape(tuple(shape))

    def read(self, name: str, shape: Sequence[int], start: int = 0, stop: int | None = None) -> Tensor:
        """The numbers from ``start`` to ``stop`` (default: the end), ``(numbers,)``, of a tensor of this shape.

        Raises `CheckpointError` for a name that was not saved, or was in another shape.
        """
        self._require(name, tuple(shape))
        self._unread.discard(name)
        return self._joined(name, start, _size(shape) if stop is None else stop)

    def require_all_read(self) -> None:
        """Raise `CheckpointError` if something was saved that nobody asked for: it is of another model."""
        if self._unread:
            raise CheckpointError(f"it holds what this model does not train: {sorted(self._unread)[:3]}")

    def _require(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._pieces:
            raise CheckpointError(f"it holds no {name}, which this model trains")
        if self._shapes[name] != shape:
            raise CheckpointError(f"it holds {name} in the shape {self._shapes[name]}, and the model's is {shape}")

    def _joined(self, name: str, start: int, stop: int) -> Tensor:
        import torch
        from safetensors import safe_open

        found, place = [], start
        for piece in self._pieces[name]:
            if piece.start <= place < piece.stop and place < stop:
                with safe_open(piece.file, "pt") as file:
                    found.append(file.get_slice(piece.key)[place - piece.start : min(stop, piece.stop) - piece.start])
                place = min(stop, piece.stop)
        if place < stop:
            raise CheckpointError(f"it lacks numbers of {name}, from {place} to {stop}")
        return torch.cat(found) if found else torch.empty(0)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
