"""Computes means of metrics over the pairs of many micro-batches and of all processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from mdpo_core.processes.world import ALONE, World
from mdpo_core.types.transfer import to_device


class Meter:
    """Means over pairs, collected over micro-batches. Adding does not synchronize the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(
        self,
        metrics: Mapping[str, Tensor],
        counted: Mapping[str, Tensor] = MappingProxyType({}),
        sources: Sequence[str] = (),
    ) -> None:
        """Add values of some pairs, ``(pairs,)`` for each metric.

        ``counted``: masks ``(pairs,)`` by metric; pairs where one is false are left out. ``sources``: the source of
        each pair, or none: each metric is then also kept for the pairs of each source, as ``metric/source``.
        """
        self._add(metrics, counted)
        for source, of_source in _masks(sources, next(iter(metrics.values())).device if metrics else None):
            masks = {name: of_source & counted[name] if name in counted else of_source for name in metrics}
            self._add(_named(metrics, source), _named(masks, source))

    def _add(self, metrics: Mapping[str, Tensor], counted: Mapping[str, Tensor]) -> None:
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


def _masks(sources: Sequence[str], device: torch.device | None) -> Iterator[tuple[str, Tensor]]:
    """For each source, which pairs are its own, ``(pairs,)`` bool; pairs without a source are in none."""
    for source in dict.fromkeys(filter(None, sources)):
        own = torch.tensor([each == source for each in sources])
        yield source, own if device is None else to_device(own, device)


def _named(values: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    return {f"{name}/{source}": each for name, each in values.items()}


def _numbers(tensors: Mapping[str, Tensor]) -> list[float]:
    """The numbers of all tensors, for which the host waits once."""
    return torch.stack(list(tensors.values())).tolist() if tensors else []
