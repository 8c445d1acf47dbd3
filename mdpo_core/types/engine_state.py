"""What an engine must save, as numbers by name: one form for every backend and any number of processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

# The prefix of the names of the policy's parameters, in the scorer and in checkpoints.
POLICY_PREFIX = "policy."
# What AdamW keeps for each parameter besides the number of steps, by the names that torch and checkpoints use.
MOMENTS = ("exp_avg", "exp_avg_sq")
# The kind of what an engine keeps for itself and not for a parameter; another engine need not read it.
OF_ENGINE = "engine"
_SHAPES = "shapes"


class TensorSlice(NamedTuple):
    """Consecutive numbers of a tensor that is flattened.

    ``name``: ``<kind>:<parameter>``, where the kind is ``weight``, or what the optimizer's state calls it; those of
    AdamW are ``exp_avg``, ``exp_avg_sq`` and ``step``. ``values``: ``(numbers,)`` on the CPU. ``start``: the index of
    the first of them in the flattened tensor. ``shape``: that of the whole tensor.
    """

    name: str
    values: Tensor
    start: int
    shape: tuple[int, ...]


def whole_tensor(name: str, tensor: Tensor) -> TensorSlice:
    """A slice that holds all numbers of ``tensor``, copied to the CPU."""
    return TensorSlice(name, tensor.detach().reshape(-1).cpu(), 0, tuple(tensor.shape))


def write_state(slices: Iterable[TensorSlice], file: Path) -> None:
    """Write the state of one process into a safetensors file."""
    from safetensors.torch import save_file

    tensors, shapes = {}, {}
    for name, values, start, shape in slices:
        # Copied, because safetensors refuses tensors that share memory.
        tensors[f"{name}@{start}"] = values.clone()
        shapes[name] = shape
    save_file(tensors, file, {_SHAPES: json.dumps(shapes)})


class _StoredSlice(NamedTuple):
    """Where a slice is stored: its range in the flattened tensor, its file, its key there."""

    start: int
    stop: int
    file: Path
    key: str


class SavedEngineState:
    """The states that all processes of a run wrote, by the names of `TensorSlice`. Tensors are read on demand."""

    def __init__(self, files: Sequence[Path]) -> None:
        from safetensors import safe_open

        self._slices: dict[str, list[_StoredSlice]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._unread: set[str] = set()
        for path in files:
            with safe_open(path, "pt") as file:
                shapes = json.loads(file.metadata()[_SHAPES])
                self._shapes |= {name: tuple(shape) for name, shape in shapes.items()}
                for key in file.keys():  # noqa: SIM118  # a handle, not a mapping
                    name, _, start = key.rpartition("@")
                    [numbers] = file.get_slice(key).get_shape()
                    stored = _StoredSlice(int(start), int(start) + numbers, path, key)
                    self._slices.setdefault(name, []).append(stored)
        for slices in self._slices.values():
            slices.sort()
        self._unread = set(self._slices)
        self._kinds: dict[str, list[str]] = {}
        for name in self._slices:
            kind, _, parameter = name.partition(":")
            self._kinds.setdefault(parameter, []).append(kind)

    def kinds_of(self, parameter: str) -> list[str]:
        """What was saved of a parameter: ``weight``, and what its optimizer kept."""
        return self._kinds.get(parameter, [])

    def as_saved(self, name: str) -> Tensor:
        """A whole tensor in the shape in which it was saved, on the CPU. Raises `CheckpointError` if it was not."""
        return self.whole(name, self._shapes.get(name, ()))

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of this name was saved."""
        return name in self._slices

    def __iter__(self) -> Iterator[str]:
        """The names of all saved tensors."""
        return iter(self._slices)

    def whole(self, name: str, shape: Sequence[int]) -> Tensor:
        """A whole tensor, on the CPU. Raises `CheckpointError` if it was not saved, or has another shape."""
        return self.read(name, shape).reshape(tuple(shape))

    def read(self, name: str, shape: Sequence[int], start: int = 0, stop: int | None = None) -> Tensor:
        """Numbers ``start`` to ``stop`` (default: the last) of a flattened tensor of this shape, ``(numbers,)``.

        Raises `CheckpointError` if the tensor was not saved, was saved in another shape, or lacks some of the numbers.
        """
        self._require(name, tuple(shape))
        self._unread.discard(name)
        return self._assembled(name, start, _size(shape) if stop is None else stop)

    def require_all_read(self) -> None:
        """Raise `CheckpointError` if a saved tensor was never read: it belongs to another model."""
        unread = sorted(name for name in self._unread if not name.startswith(f"{OF_ENGINE}:"))
        if unread:
            raise CheckpointError(f"it contains tensors that this model does not train: {unread[:3]}")

    def _require(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._slices:
            raise CheckpointError(f"it does not contain {name}, which this model trains")
        if self._shapes[name] != shape:
            raise CheckpointError(f"it contains {name} in the shape {self._shapes[name]}; the model's shape is {shape}")

    def _assembled(self, name: str, start: int, stop: int) -> Tensor:
        import torch
        from safetensors import safe_open

        parts, index = [], start
        for stored in self._slices[name]:
            if stored.start <= index < min(stored.stop, stop):
                end = min(stored.stop, stop)
                with safe_open(stored.file, "pt") as file:
                    parts.append(file.get_slice(stored.key)[index - stored.start : end - stored.start])
                index = end
        if index < stop:
            raise CheckpointError(f"it lacks numbers of {name}, from {index} to {stop}")
        return torch.cat(parts) if parts else torch.empty(0)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
