"""Means that terms and strengths read, over the pairs of whole steps. Equal in all processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World

# Sums and counts by name.
Sums = dict[str, tuple[float, int]]


class RunningMeans:
    """Means by name. Each is 0 until the first step is finished; ``of_batch`` are known while a step is computed.

    They are updated once per step over all pairs, so they do not depend on micro-batches or processes. ``decaying``:
    the share of a mean that stays when a step is finished.
    """

    def __init__(
        self,
        names: Iterable[str],
        of_last_step: Iterable[str] = (),
        of_batch: Iterable[str] = (),
        decaying: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._of_last_step, self._decaying = frozenset(of_last_step), dict(decaying)
        self._of_step: Sums = dict.fromkeys((*names, *self._of_last_step, *self._decaying), (0.0, 0))
        self._of_batch: Sums = dict.fromkeys(of_batch, (0.0, 0))
        self._finished = {**self._of_step, **self._of_batch}

    @property
    def needs_batch(self) -> bool:
        """Whether a mean must be known over the whole batch before the step is computed."""
        return bool(self._of_batch)

    def mean(self, name: str) -> float:
        """The mean over all finished steps, over the last step or over the batch. 0 before there is one."""
        total, count = self._finished[name]
        return total / count if count else 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values of some pairs of the current step, ``(pairs,)`` each."""
        _add(self._of_step, values)

    def add_to_batch(self, values: Mapping[str, Tensor]) -> None:
        """Add values of some pairs to the means of the batch, ``(pairs,)`` each, before the step is computed."""
        _add(self._of_batch, values)

    def finish_batch(self, world: World = ALONE) -> None:
        """Make the means of the batch known: those of what all processes have added to it."""
        for name, (total, count) in list(_over_processes(self._of_batch, world)):
            if count:
                self._finished[name] = (total, count)
        self._of_batch = dict.fromkeys(self._of_batch, (0.0, 0))

    def finish_step(self, world: World = ALONE) -> None:
        """Update the other means with what all processes have added since the last step."""
        if not self._of_step:
            return
        for name, (total, count) in list(_over_processes(self._of_step, world)):
            if name in self._decaying and count:
                stays = self._decaying[name]
                self._finished[name] = (stays * self.mean(name) + (1 - stays) * (total / count), 1)
            elif name in self._of_last_step and count:
                self._finished[name] = (total, count)
            elif name not in self._of_last_step and name not in self._decaying:
                before = self._finished[name]
                self._finished[name] = (before[0] + total, before[1] + count)
        self._of_step = dict.fromkeys(self._of_step, (0.0, 0))

    def state(self) -> dict[str, tuple[float, int]]:
        """Totals and counts by name, as JSON can hold them."""
        return dict(self._finished)

    def restore(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Continue from the result of `state`; a mean that it does not contain starts from 0."""
        self._finished |= {
            name: (float(state[name][0]), int(state[name][1])) for name in self._finished if name in state
        }


def _add(sums: Sums, values: Mapping[str, Tensor]) -> None:
    for name, added in values.items():
        total, count = sums[name]
        sums[name] = (total + float(added.sum(dtype=torch.float64)), count + len(added))


def _over_processes(sums: Sums, world: World) -> Iterator[tuple[str, tuple[float, int]]]:
    of_processes = world.gather(sums)
    for name in sums:
        total, count = (sum(numbers) for numbers in zip(*(each[name] for each in of_processes), strict=True))
        yield name, (total, count)
