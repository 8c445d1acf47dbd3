"""Devices of a process: which it computes on, and how much memory it has used there."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from mdpo_core.errors import RecipeError
from mdpo_core.processes.world import World

if TYPE_CHECKING:
    import torch
    from torch import nn

_COMPUTES_ON = "mdpo_computes_on"


def local_device(world: World) -> str:
    """The accelerator of this process, as torch writes it, or ``cpu``."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return "cpu"
    return found.type if world.size == 1 else f"{found.type}:{world.local_rank}"


def require_devices(world: World) -> None:
    """Raise `RecipeError` if this machine has accelerators, and fewer of them than processes."""
    import torch

    found = torch.accelerator.device_count()
    # Not every launcher says how many processes a machine has.
    processes = max(world.local_size, world.local_rank + 1)
    if 0 < found < processes:
        raise RecipeError(f"{processes} processes on this machine, which has {found} devices")


def set_compute_device(module: nn.Module, device: torch.device) -> None:
    """Say where a module computes whose weights rest elsewhere: for backends that offload them."""
    vars(module)[_COMPUTES_ON] = device


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: where its weights are, unless a backend said otherwise."""
    said: torch.device | None = vars(module).get(_COMPUTES_ON)
    return next(module.parameters()).device if said is None else said


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, in GB (1e9 bytes): of the device, or of the process on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
