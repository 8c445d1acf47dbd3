"""The device on which a process or a module computes, and the memory used there."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from mdpo_core.errors import RecipeError
from mdpo_core.processes.world import World

if TYPE_CHECKING:
    import torch
    from torch import nn

_DEVICE = "mdpo_compute_device"  # the attribute of a module


def local_device(world: World) -> str:
    """The accelerator of this process as torch writes it, such as ``cuda:0``; ``cpu`` if there is none."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return "cpu"
    return accelerator.type if world.size == 1 else f"{accelerator.type}:{world.local_rank}"


def require_devices(world: World) -> None:
    """Raise `RecipeError` if this machine has accelerators, but fewer of them than processes."""
    import torch

    num_devices = torch.accelerator.device_count()
    # Not every launcher says how many processes a machine has.
    num_processes = max(world.local_size, world.local_rank + 1)
    if 0 < num_devices < num_processes:
        raise RecipeError(f"{num_processes} processes on this machine, which has {num_devices} devices")


def set_compute_device(module: nn.Module, device: torch.device) -> None:
    """Record the device on which a module computes, for backends that store its weights on another device."""
    vars(module)[_DEVICE] = device


def device_of(module: nn.Module) -> torch.device:
    """The device on which a module computes: that of `set_compute_device`, else the device of its weights."""
    recorded: torch.device | None = vars(module).get(_DEVICE)
    return next(module.parameters()).device if recorded is None else recorded


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, in GB (1e9 bytes): on a CUDA device, torch's; else, that of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
