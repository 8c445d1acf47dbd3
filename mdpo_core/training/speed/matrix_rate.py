"""The arithmetic that a device is capable of: the rate of its own matrix product."""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch

from mdpo_core.interfaces.backend import Backend
from mdpo_core.processes.world import World

_SIZE = 1024
_SIZES = {"cuda": 8192, "xpu": 8192}  # where a smaller product takes no longer than its launch
_PERIOD = 1009  # of the numbers that are multiplied
_LEAST = 3  # products that are timed


def matrix_rate_of(backend: Backend, world: World, seconds: float) -> float:
    """FLOP/s of a square matrix product where the backend computes, in the type in which a run computes.

    The median of the products that fit into ``seconds``, after one more; a process measures a device once. On CUDA this
    resets torch's peak of memory, so call this before anything is loaded.
    """
    device = torch.device(backend.compute_device(world))
    rate = _measured(device, getattr(torch, backend.arithmetic), seconds)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return rate


@cache
def _measured(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    return matrix_rate(device, dtype, seconds)


def size_on(device_type: str) -> int:
    """Rows and columns of the matrices that are multiplied on such a device."""
    return _SIZES.get(device_type, _SIZE)


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """The same on any device, in any type. Leaves torch's random numbers as they are."""
    size = size_on(device.type)
    # Not drawn: some devices have no generator of their own.
    numbers = torch.arange(size * size, dtype=torch.int32, device=device).remainder(_PERIOD) / _PERIOD - 0.5
    left, right = (each.view(size, size).to(dtype) for each in (numbers, numbers.flip(0)))
    times: list[float] = []
    while len(times) <= _LEAST or sum(times) < seconds:
        started = time.perf_counter()
        torch.mm(left, right)[0, 0].item()  # waits for the product
        times.append(time.perf_counter() - started)
    # The first product also chooses its kernel.
    return float(2 * size**3 / statistics.median(times[1:]))
