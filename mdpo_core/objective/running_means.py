"""Means that terms read: over all pairs of all finished steps or of the last one, the same in every process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World


class RunningMeans:
    """A mean by name, 0 before the first step is finished.

    Moved on once a step and over all its pairs, so that neither micro-batches nor processes have a part in it.
    """

    def __init__(self, names: Iterable[str], of_last_step: Iterable[str] = ()) -> None:
        self._of_last_step = frozenset(of_last_step)
        self._finished = dict.fromkeys((*names, *self._of_last_step), (0.0, 0))
        self._open = dict(self._finished)

    def mean(self, name: str) -> float:
        total, count = self._finished[name]
        return total / count if count else 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Values of some pairs of the step that is under way, ``(pairs,)`` each."""
        for name, found in values.items():
            total, count = self._open[name]
            self._open[name] = (total + float(found.sum(dtype=torch.float64)), count + len(found))

    def finish_step(self, world: World = ALONE) -> None:
        """Count what all processes have added."""
        if not self._finished:
            return
        found = world.gather(self._open)
        for name, before in self._finished.items():
            parts = [each[name] for each in found]
            total, count = (sum(numbers) for numbers in zip(*parts, strict=True))
            if name not in self._of_last_step:
                self._finished[name] = (before[0] + total, before[1] + count)
            elif count:
                self._finished[name] = (total, count)
        self._open = dict.fromkeys(self._open, (0.0, 0))

    def state(self) -> dict[str, tuple[float, int]]:
        """As JSON holds it."""
        return dict(self._finished)

    def restore(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Take back what `state` gave; what it does not know begins anew."""
        self._finished |= {
            name: (float(state[name][0]), int(state[name][1])) for name in self._finished if name in state
        }
