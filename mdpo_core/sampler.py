"""Which rows make up which step: a pure function, so that resuming seeks and never replays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Sampler:
    """Shuffles per epoch from the seed and drops nothing: the last batch of an epoch may be smaller."""

    num_rows: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.batch_size)

    @property
    def num_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """The epoch, counted from 0, that a step (counted from 0) belongs to."""
        return step // self.steps_per_epoch

    def rows(self, step: int) -> list[int]:
        """The row numbers of a step's batch."""
        order = _permutation(self.num_rows, self.seed, self.epoch(step))
        start = step % self.steps_per_epoch * self.batch_size
        return order[start : start + self.batch_size]


@lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> list[int]:
    import torch

    generator = torch.Generator().manual_seed(_mix(seed, epoch))
    order: list[int] = torch.randperm(num_rows, generator=generator).tolist()
    return order


def _mix(seed: int, number: int) -> int:
    # Two seeds never share an epoch's order, as they would if the epoch were added to the seed.
    return (seed * 1_000_003 + number) % 2**63
