"""Prepare a process for DeepSpeed, and check the options of DeepSpeed."""

from __future__ import annotations

import atexit
import difflib
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import distributed
from torch._C._distributed_c10d import HashStore

from mdpo_core import RecipeError, current_world, local_device

if local_device(current_world()) == "cpu":
    # Set this before the import, which would look for devices, and warn if there are none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
from deepspeed.runtime.config import DeepSpeedConfig

# An operator for reductions among the processes of one CPU. It needs a compiler and 90 seconds, and some runs that used
# it aborted at their end.
_COMPILED = "deepspeed_shm_comm"


def prepare() -> None:
    """Join torch's process group, or create one for a process without a launcher. Compiles nothing."""
    world = current_world()
    deepspeed.ops.__compatible_ops__[_COMPILED] = False
    # Its warnings would break the progress bar.
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # DeepSpeed calls functions of torch by deprecated names in every step.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    index = torch.device(local_device(world)).index
    # DeepSpeed takes this variable for the number of the device, even without a launcher.
    os.environ["LOCAL_RANK"] = str(world.local_rank if index is None else index)
    if index is not None:
        torch.accelerator.set_device_index(index)
    if not distributed.is_initialized():
        if world.size > 1:
            raise RuntimeError("the process group must exist before the backend starts")
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        atexit.register(distributed.destroy_process_group)
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(verbose=False)


def require_valid(options: Mapping[str, Any]) -> None:
    """Raise `RecipeError` if DeepSpeed refuses the configuration, or would ignore a part of it."""
    watched = _Watched(options)
    try:
        DeepSpeedConfig(watched)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise RecipeError(f"backend.config: DeepSpeed refuses it: {'; '.join(problems)}") from error
    except (ValueError, AssertionError, TypeError, KeyError) as error:
        raise RecipeError(f"backend.config: DeepSpeed refuses it: {error}") from error
    for name in options.keys() - watched.asked_for:
        close = difflib.get_close_matches(name, watched.asked_for, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"backend.config: DeepSpeed has no option {name!r}{hint}")


class _Watched(dict[str, Any]):
    """Records which options were read: DeepSpeed ignores sections that it does not know."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.asked_for: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked_for.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked_for.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked_for.add(name)
        return super().get(name, default)

    def keys(self) -> Any:
        # `name in options.keys()` also reads an option: with this result, `in` calls `__contains__` above.
        return self
