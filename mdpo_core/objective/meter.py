"""Computes means of metrics over the pairs of many micro-batches and of all processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World


class Meter:
    """Means over pairs, collected over micro-batches. Adding does not synchronize the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add values of some pairs, ``(pairs,)`` for each metric."""
        for name, values in metrics.items():
            total = values.sum(dtype=torch.float64)
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] = self._counts.get(name, 0) + len(values)

    def means(self, world: World = ALONE) -> dict[str, float]:
        """The mean of each metric over the pairs of all processes; metrics without pairs are left out."""
        mine = {name: (float(total), self._counts[name]) for name, total in self._sums.items()}
        of_processes = world.gather(mine)
        names = dict.fromkeys(name for sums in of_processes for name in sums)
        totals = {name: [sums[name] for sums in of_processes if name in sums] for name in names}
        counts = {name: sum(count for _, count in parts) for name, parts in totals.items()}
        return {name: sum(total for total, _ in parts) / counts[name] for name, parts in totals.items() if counts[name]}
