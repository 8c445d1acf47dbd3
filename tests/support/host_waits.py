"""Counts on a CPU where the host would wait for an accelerator.

A tensor is *there* if it was moved by ``to(device)``, or computed from such a tensor or from one of `HostWaits.put`.
The host waits where it reads a number that is there, and where it copies to the device without ``non_blocking``.
Tensors that are there say that their device is ``cpu:0``; torch takes it for the CPU, where the others say they are.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operators whose result on the host, or whose shape, depends on numbers.
_READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "repeat_interleave", "unique")
_READ_ALL = ("tolist", "numpy", "cpu")  # methods that call no operator on a CPU
_INDEXING = ("index", "index_put", "index_put_")
_DEVICE_OF = Tensor.device.__get__  # type: ignore[attr-defined]  # a property written in C


_THERE = torch.device("cpu", 0)


class HostWaits:
    """Inside the block, counts the waits: ``found[place]``, a place as ``file:line what``."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        # Storages compare by identity; a table by their addresses would confuse them with dead ones.
        self._there: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._modes = (_Moves(self), _Operators(self))

    def __enter__(self) -> HostWaits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def put(self, tensors: Iterable[Tensor]) -> None:
        """From now on, these tensors are on the device."""
        for tensor in tensors:
            self._there[tensor.untyped_storage()] = True

    def is_there(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage() in self._there

    def count(self, what: str) -> None:
        self.found[f"{_place()} {what}"] += 1

    def report(self) -> str:
        return "\n".join(f"{count:4d}  {place}" for place, count in self.found.most_common())


class _Moves(TorchFunctionMode):
    """Makes ``to(device)`` a copy, as it is between devices, and puts it there; counts reads of whole tensors."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function == _DEVICE_OF and self._waits.is_there(arguments[0]):
            return _THERE
        made = function(*arguments, **options)
        name = getattr(function, "__name__", "")
        if name in _READ_ALL and self._waits.is_there(arguments[0]):
            self._waits.count(name)
        if not any(isinstance(leaf, torch.device) and leaf == _THERE for leaf in tree_leaves((arguments, options))):
            return made
        if name == "to" and not self._waits.is_there(arguments[0]):
            made = made.clone()
            if not options.get("non_blocking"):
                self._waits.count("copies to the device")
        elif name in ("tensor", "as_tensor"):
            self._waits.count("copies to the device")
        elif name not in ("arange", "zeros", "ones", "empty", "full"):
            return made
        self._waits.put([made])
        return made


class _Operators(TorchDispatchMode):
    """Follows what is computed from tensors that are there, and counts what is read of them."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        there = any(map(self._waits.is_there, tree_leaves((arguments, options))))
        name = operator.overloadpacket.__name__
        if there and (name in _READS or _selects_by_bools(name, arguments)):
            self._waits.count(name)
        made = operator(*arguments, **(options or {}))
        if there:
            self._waits.put(leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
        return made


def _selects_by_bools(name: str, arguments: Any) -> bool:
    indices = tree_leaves(arguments[1:2])
    return name in _INDEXING and any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices)


def _place() -> str:
    """The innermost line of the stack that is neither torch's nor in this file."""
    frames = traceback.extract_stack()
    frame = [each for each in frames if "/torch/" not in each.filename and each.filename != __file__][-1]
    return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
