"""The arithmetic that a device is capable of: the rate of its own matrix product."""

from __future__ import annotations

import statistics
import time

import torch

from mdpo_core.interfaces.backend import Backend
from mdpo_core.processes.world import World

_CPU_SIZE, _SIZE = 1024, 8192
_LEAST = 3  # products that are timed


def matrix_rate_of(backend: Backend, world: World, seconds: float) -> float:
    """FLOP/s of a square matrix product where the backend computes, in the type in which a run computes.

    The median of the products that fit into ``seconds``, after one more. On CUDA torch's peak of memory begins anew, so
    call this before anything is loaded.
    """
    device = torch.device(backend.compute_device(world))
    rate = matrix_rate(device, getattr(torch, backend.arithmetic), seconds)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return rate


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """The same on any device, in any type. Leaves torch's random numbers as they are."""
    size = _CPU_SIZE if device.type == "cpu" else _SIZE
    drawn = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=drawn, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    while len(times) <= _LEAST or sum(times) < seconds:
        started = time.perf_counter()
        torch.mm(left, right)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
    # The first product also chooses its kernel.
    return float(2 * size**3 / statistics.median(times[1:]))
