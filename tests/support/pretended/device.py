"""A device in pretence: its tensors have real numbers, which the CPU computes, but they do not mix with the CPU's.

It is torch's PrivateUse1 with a backend in Python. As on a GPU, an operator on tensors of both devices raises, except
where CUDA allows it: copies, numbers without dimensions, and indices. Autograd, autocast, dropout, views and optimizers
work, so that whole runs do. Its name is that of an accelerator that recipes can name.

Numbers, waits and streams of a real device are not shown here: only where each tensor is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from support.pretended.autocast import add_autocast

KIND = "npu"
DEVICE = f"{KIND}:0"
_COPIES = ("_to_copy", "copy_")
_INDEXING = ("index", "index_put", "index_put_")
_lasting: list[Any] = []


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of two devices."""


def process_with_device() -> ProcessPoolExecutor:
    """A process of its own that has the device: torch cannot take it back. It can also compute on the CPU."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=set_up)


def set_up() -> None:
    """Give this process the device, from now on."""
    # transformers reads weights in threads, and torch's modes are those of one thread.
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    _setup_privateuseone_for_python_backend(KIND, backend_module=_Backend())
    _lasting.extend(add_autocast(KIND))
    _Operators().__enter__()
    _FromNumbers().__enter__()


class OnDevice(Tensor):
    """A tensor on the device; ``numbers`` are on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnDevice:
        made: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]  # torch does not type it
            cls, numbers.size(), numbers.stride(), numbers.storage_offset(), dtype=numbers.dtype, device=DEVICE
        )
        made.numbers = numbers
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.numbers})"


class _Operators(TorchDispatchMode):
    """Sees also operators on tensors of the CPU: those that copy to the device, or make tensors there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU and copies them. By itself, torch would pass the backend by."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        device = options.get("device")
        if func not in (torch.tensor, torch.as_tensor) or device is None or torch.device(device).type != KIND:
            return func(*args, **options)
        return func(*args, **{**options, "device": "cpu"}).to(device)


def _compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Compute on the CPU. The result is on the device if ``device`` says so; without it, if an input is."""
    name = func.overloadpacket.__name__
    there = any(isinstance(leaf, OnDevice) for leaf in tree_leaves((args, kwargs)))
    if there and name not in _COPIES:
        _require_one_device(func, name, args, kwargs)
    if (asked := kwargs.get("device")) is not None:
        there = torch.device(asked).type == KIND
        kwargs = {**kwargs, "device": "cpu"} if there else kwargs
    elif name == "copy_":
        there = isinstance(args[0], OnDevice)
    made = func(*tree_map(_numbers, args), **tree_map(_numbers, dict(kwargs)))
    if not there:
        return made
    result = tree_map(lambda each: OnDevice(each) if isinstance(each, Tensor) else each, made)
    return return_and_correct_aliasing(func, args, kwargs, result)


def _numbers(value: Any) -> Any:
    return value.numbers if isinstance(value, OnDevice) else value


def _require_one_device(func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    # CUDA's fused optimizers read even counts on the device.
    smallest = 0 if name.startswith("_fused") else 1
    indices = tree_leaves(args[1]) if name in _INDEXING else []
    wrong = [
        f"{tuple(leaf.shape)} {leaf.dtype}"
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice) and leaf.dim() >= smallest
        if not any(leaf is index for index in indices)
    ]
    if kwargs.get("generator") is not None:
        wrong.append("a generator")
    if wrong:
        raise MixedDevicesError(f"{func} on {DEVICE} was given from the CPU: {', '.join(wrong)}")


class _Backend(_DummyBackendModule):
    """What torch asks a device for by name. Its random numbers are those of the CPU."""

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
