"""The device on which a process or a module computes, and the memory used there."""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING

from mdpo_core.errors import RecipeError
from mdpo_core.processes.world import World

if TYPE_CHECKING:
    import torch
    from torch import nn

_USED = ("cuda", "xpu")  # the accelerators that runs take by themselves
# Options of torch's allocator: the name since torch 2.10, the older name, and ROCm's.
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_DEVICE = "mdpo_compute_device"  # the attribute of a module


def local_device(world: World) -> str:
    """The accelerator of this process as torch writes it, such as ``cuda:0``; ``cpu`` if there is none.

    Only CUDA (ROCm, too) and XPU count: Apple's MPS has no float64, and the others were never tried.
    """
    kind = _accelerator()
    if kind is None or world.size == 1:
        return kind or "cpu"
    # A launcher such as SLURM may show each process only the device of that process, as number 0.
    return f"{kind}:{0 if _num_devices() == 1 else world.local_rank}"


def require_devices(world: World) -> None:
    """Raise `RecipeError` if this machine has accelerators, but fewer of them than processes.

    One device is enough if each process sees another one. All processes must call this together.
    """
    num_devices, each_sees_another = _num_devices(), _each_sees_another_device(world)
    # Not every launcher says how many processes a machine has.
    num_processes = max(world.local_size, world.local_rank + 1)
    if 0 < num_devices < num_processes and not each_sees_another:
        devices = "1 device" if num_devices == 1 else f"{num_devices} devices"
        raise RecipeError(
            f"{num_processes} processes on this machine, which has {devices}; start one process for each device"
        )


def _accelerator() -> str | None:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None and found.type in _USED else None


def _num_devices() -> int:
    import torch

    return torch.accelerator.device_count() if _accelerator() else 0


def _each_sees_another_device(world: World) -> bool:
    """Whether every process of the run sees exactly one device, and no two of them the same one."""
    from torch import distributed

    if world.size == 1 or not distributed.is_initialized():
        return False
    seen = world.gather(_only_device())
    return None not in seen and len(set(seen)) == world.size


def _only_device() -> str | None:
    """A name for the one device that this process sees, the same in every process; None if it sees more, or none."""
    import torch

    if _num_devices() != 1:
        return None
    return str(torch.get_device_module(_accelerator()).get_device_properties(0).uuid)


def set_compute_device(module: nn.Module, device: torch.device) -> None:
    """Record the device on which a module computes, for backends that store its weights on another device."""
    vars(module)[_DEVICE] = device


def device_of(module: nn.Module) -> torch.device:
    """The device on which a module computes: that of `set_compute_device`, else the device of its weights."""
    recorded: torch.device | None = vars(module).get(_DEVICE)
    return next(module.parameters()).device if recorded is None else recorded


def use_expandable_segments() -> None:
    """Let torch's allocator for CUDA grow its segments, unless the user has set its options.

    The length of rows changes with every step, which would leave memory in pieces that nothing fits. Has no effect
    after the first tensor on a CUDA device.
    """
    import torch

    if sys.platform != "linux" or torch.version.cuda is None or any(name in os.environ for name in _ALLOCATOR):
        return
    os.environ[_ALLOCATOR[torch.__version__ < "2.10"]] = "expandable_segments:True"


def peak_reserved_memory(device: torch.device) -> float | None:
    """Peak memory that torch holds on a CUDA device, in GB (1e9 bytes), gaps between tensors included; else None."""
    import torch

    return torch.cuda.max_memory_reserved(device) / 1e9 if device.type == "cuda" else None


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, in GB (1e9 bytes): on a CUDA device, torch's; else, that of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
