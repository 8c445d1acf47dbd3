"""Means that terms read: over the pairs of all finished steps or of the last step. Equal in all processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World


class RunningMeans:
    """Means by name. Each is 0 until the first step is finished.

    They are updated once per step over all pairs, so they do not depend on micro-batches or processes.
    """

    def __init__(self, names: Iterable[str], of_last_step: Iterable[str] = ()) -> None:
        self._of_last_step = frozenset(of_last_step)
        self._finished = dict.fromkeys((*names, *self._of_last_step), (0.0, 0))
        self._open = dict(self._finished)

    def mean(self, name: str) -> float:
        """The mean over all finished steps; for a step mean, over the last step only. 0 before the first step ends."""
        total, count = self._finished[name]
        return total / count if count else 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values of some pairs of the current step, ``(pairs,)`` each."""
        for name, added in values.items():
            total, count = self._open[name]
            self._open[name] = (total + float(added.sum(dtype=torch.float64)), count + len(added))

    def finish_step(self, world: World = ALONE) -> None:
        """Update the means with what all processes have added since the last step."""
        if not self._finished:
            return
        of_processes = world.gather(self._open)
        for name, before in self._finished.items():
            parts = [each[name] for each in of_processes]
            total, count = (sum(numbers) for numbers in zip(*parts, strict=True))
            if name not in self._of_last_step:
                self._finished[name] = (before[0] + total, before[1] + count)
            elif count:
                self._finished[name] = (total, count)
        self._open = dict.fromkeys(self._open, (0.0, 0))

    def state(self) -> dict[str, tuple[float, int]]:
        """Totals and counts by name, as JSON can hold them."""
        return dict(self._finished)

    def restore(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Continue from the result of `state`; a mean that it does not contain starts from 0."""
        self._finished |= {
            name: (float(state[name][0]), int(state[name][1])) for name in self._finished if name in state
        }
