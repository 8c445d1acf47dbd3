"""Computes means of metrics over the pairs of many micro-batches and of all processes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World


class Meter:
    """Means over pairs, collected over micro-batches. Adding does not synchronize the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, metrics: Mapping[str, Tensor], counted: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        """Add values of some pairs, ``(pairs,)`` for each metric.

        ``counted``: masks ``(pairs,)`` by metric; pairs where one is false are left out.
        """
        for name, values in metrics.items():
            mask = counted.get(name)
            number = torch.full((), len(values), device=values.device) if mask is None else mask.sum()
            total = (values if mask is None else values.where(mask, 0)).sum(dtype=torch.float64)
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] = self._counts[name] + number if name in self._counts else number

    def means(self, world: World = ALONE) -> dict[str, float]:
        """The mean of each metric over the pairs of all processes; metrics without pairs are left out."""
        mine = dict(zip(self._sums, zip(_numbers(self._sums), _numbers(self._counts), strict=True), strict=True))
        of_processes = world.gather(mine)
        names = dict.fromkeys(name for sums in of_processes for name in sums)
        totals = {name: [sums[name] for sums in of_processes if name in sums] for name in names}
        counts = {name: sum(count for _, count in parts) for name, parts in totals.items()}
        return {name: sum(total for total, _ in parts) / counts[name] for name, parts in totals.items() if counts[name]}


def _numbers(tensors: Mapping[str, Tensor]) -> list[float]:
    """The numbers of all tensors, for which the host waits once."""
    return torch.stack(list(tensors.values())).tolist() if tensors else []
