"""Chooses the rows of each step by a pure function, so that a resumed run does not replay earlier steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.interfaces.train_options import Train
from mdpo_core.processes.world import ALONE, World
from mdpo_core.types.view import View

if TYPE_CHECKING:
    import torch


class MicroBatch(NamedTuple):
    """Rows that share a forward.

    ``number``: its index among the micro-batches of all processes in this step. ``views``: the views to encode; None:
    all of the builder's. A filler micro-batch repeats a row, and its results are not used. It is there because every
    process must run the same number of forwards.
    """

    rows: Sequence[int]
    epoch: int
    number: int = 0
    is_filler: bool = False
    views: tuple[View, ...] | None = None


@dataclass(frozen=True, eq=False)
class Sampler:
    """Shuffles per epoch from the seed and drops nothing: the last batch of an epoch may be smaller.

    ``lengths``: tokens of each row. ``window``: the number of batches whose rows are sorted by length and batched
    again; the order of these batches stays random. 0: batches stay as shuffled. ``max_steps`` replaces ``epochs``.
    ``first_epoch``: the number of the first epoch. ``groups``: of each row the name of its group, whose rows come one
    after the other, where the first of them was shuffled to; empty: rows have no groups.
    """

    lengths: Sequence[int]
    batch_size: int
    epochs: int
    seed: int
    window: int = 0
    max_steps: int | None = None
    first_epoch: int = 0
    groups: Sequence[bytes] = ()

    @classmethod
    def of(cls, train: Train, lengths: Sequence[int], keys: Sequence[bytes]) -> Sampler:
        """The sampler that a recipe asks for. ``keys`` of each row: see `keys_of`."""
        groups = keys if train.group_by == "prompt" else ()
        return cls(
            lengths, train.batch_size, train.epochs, train.seed, train.length_window, train.max_steps, groups=groups
        )

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer steps in an epoch; the last one may have fewer pairs."""
        return -(-len(self.lengths) // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Number of optimizer steps: ``max_steps``, or those of all epochs."""
        return self.epochs * self.steps_per_epoch if self.max_steps is None else self.max_steps

    def epoch(self, step: int) -> int:
        """The number of the epoch that a step (counted from 0) belongs to."""
        return self.first_epoch + step // self.steps_per_epoch

    def rows(self, step: int) -> list[int]:
        """The row numbers of a step's batch, shortest row first, so that its micro-batches need little padding.

        Rows of one group stay together; the largest groups come first, so that micro-batches part few of them.
        """
        start = step % self.steps_per_epoch * self.batch_size
        rows = _order(self, self.epoch(step))[start : start + self.batch_size]
        if not self.groups:
            return sorted(rows, key=self.lengths.__getitem__)
        parts = sorted(self._grouped(rows), key=lambda part: (-len(part), max(self.lengths[row] for row in part)))
        return [row for part in parts for row in part]

    def _grouped(self, rows: Iterable[int]) -> Iterable[list[int]]:
        """The rows of each group; groups and rows in the order in which they come."""
        found: dict[bytes, list[int]] = {}
        for row in rows:
            found.setdefault(self.groups[row], []).append(row)
        return found.values()

    def micro_batches(self, step: int, size: int, world: World = ALONE) -> list[MicroBatch]:
        """This process's micro-batches of a step: every ``world.size``-th one, so that lengths are similar in all."""
        return split_over_processes(self.rows(step), size, self.epoch(step), world)


def split_over_processes(rows: Sequence[int], size: int, epoch: int, world: World) -> list[MicroBatch]:
    """This process's micro-batches of some rows; every process gets the same number."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    mine = [MicroBatch(parts[index], epoch, index) for index in range(world.rank, len(parts), world.size)]
    if len(mine) == -(-len(parts) // world.size):
        return mine
    return [*mine, MicroBatch(rows[:1], epoch, len(parts) + world.rank, is_filler=True)]


@lru_cache(maxsize=2)
def _order(sampler: Sampler, epoch: int) -> list[int]:
    import torch

    generator = torch.Generator().manual_seed(mixed_seed(sampler.seed, epoch))
    order = _permutation(len(sampler.lengths), generator)
    if sampler.groups:
        return [row for part in sampler._grouped(order) for row in part]
    return _by_length(sampler, order, generator) if sampler.window else order


def _by_length(sampler: Sampler, order: Sequence[int], generator: torch.Generator) -> list[int]:
    """Exchange rows between the batches of each window; an incomplete last batch stays as it is."""
    size = sampler.batch_size
    num_full = len(order) // size * size
    grouped: list[int] = []
    for start in range(0, num_full, sampler.window * size):
        window = order[start : min(start + sampler.window * size, num_full)]
        rows = sorted(window, key=sampler.lengths.__getitem__)
        for batch in _permutation(len(rows) // size, generator):
            grouped += rows[batch * size : (batch + 1) * size]
    return [*grouped, *order[num_full:]]


def _permutation(number: int, generator: torch.Generator) -> list[int]:
    import torch

    order: list[int] = torch.randperm(number, generator=generator).tolist()
    return order


def mixed_seed(seed: int, number: int) -> int:
    """A seed for the epoch or block of this number: if it were only added, two seeds would share orders."""
    return (seed * 1_000_003 + number) % 2**63
