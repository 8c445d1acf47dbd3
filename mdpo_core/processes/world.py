"""This process among those of its run, and the values that they exchange."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mdpo_core.errors import RecipeError
from mdpo_core.processes.portable_error import PortableError

# The environment variable that tells the processes how many of them the launcher was asked for.
PROCESSES = "MDPO_PROCESSES"
Value = TypeVar("Value")
_MOST_DIGITS = 10
_WHO_SETS_THEM = "launchers such as torchrun set these environment variables; unset them to run without a launcher"


@dataclass(frozen=True)
class World:
    """This process among those of its run. All processes must call the same methods in the same order.

    ``rank``: from 0, over all machines. ``size``: the number of processes. ``local_rank`` and ``local_size``: the same
    on this machine. Values travel as pickles, over the CPU and only between the processes of the run.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and messages: rank 0."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of their ranks. Every process gets them."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Value | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # every entry is set

    def max_over_processes(self, number: int) -> int:
        """The largest ``number`` of all processes. It is cheap enough for every step."""
        if self.size == 1:
            return number
        import torch
        from torch import distributed

        value = torch.tensor(number)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)

    def computed_by_main(self, compute: Callable[[], Value]) -> Value:
        """The result of ``compute()`` in the main process. If it raises an error, every process raises it."""
        if self.size == 1:
            return compute()
        from torch import distributed

        outcome: list[tuple[Value | None, PortableError | None]] = [(None, None)]
        if self.is_main:
            try:
                outcome = [(compute(), None)]
            except Exception as error:
                distributed.broadcast_object_list([(None, PortableError.of(error))])
                raise
        distributed.broadcast_object_list(outcome)
        value, failure = outcome[0]
        if failure is not None:
            raise failure.to_raise()
        return value  # type: ignore[return-value]  # the result of compute


ALONE = World()  # a run of one process


def current_world() -> World:
    """This process as its launcher describes it in torchrun's environment variables; `ALONE` without a launcher."""
    names = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}
    if names["size"] not in os.environ:
        return ALONE
    world = World(**{field: _number(name) for field, name in names.items() if name in os.environ})
    if not (world.rank < world.size > 0):
        raise RecipeError(f"RANK={world.rank}, but WORLD_SIZE={world.size}; {_WHO_SETS_THEM}")
    return world


def _number(name: str) -> int:
    """The number in an environment variable."""
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS):
        raise RecipeError(f"{name}={text!r} is not a number of processes; {_WHO_SETS_THEM}")
    return int(text)
