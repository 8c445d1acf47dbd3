"""Means over the whole batch of a step, which strengths need before the first backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mdpo_core.data.sampler import MicroBatch
from mdpo_core.objective.objective import Objective
from mdpo_core.processes.world import World
from mdpo_core.training.feed import Step
from mdpo_core.training.learner import Learner
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import Scores


@dataclass(frozen=True)
class WholeBatch:
    """Measures the whole batch of a step for the strengths that read it; without such strengths it does nothing.

    A step of several micro-batches is scored once more, before the scores that train and with the same dropout. A step
    of one micro-batch in each process needs no second forward.
    """

    objective: Objective
    learner: Learner
    world: World
    seed: int

    def measured(self, step: int, taken: Step, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of a step again, after the means over all of them are known."""
        if not self.objective.running.needs_batch or len(taken.micro_batches) == 1:
            return batches
        kept = [next(batches) for _ in taken.micro_batches]
        for micro_batch, batch in zip(taken.micro_batches, kept, strict=True):
            with torch.no_grad(), self.learner.advice.explained(batch):
                seed_dropout(self.seed, step, micro_batch.number)
                scored = self.learner.engine.forward(batch)
                self._add(Scores.of_batch(scored, batch, self.objective.needs_tokens), micro_batch, batch)
        self.objective.running.finish_batch(self.world)
        return iter(kept)

    def measure_one(self, taken: Step, micro_batch: MicroBatch, batch: Batch, scores: Scores) -> None:
        """Make the means known from the scores of the only micro-batch of this process."""
        if self.objective.running.needs_batch and len(taken.micro_batches) == 1:
            self._add(scores, micro_batch, batch)
            self.objective.running.finish_batch(self.world)

    def _add(self, scores: Scores, micro_batch: MicroBatch, batch: Batch) -> None:
        if counts(micro_batch, batch):
            self.objective.running.add_to_batch(self.objective.measured(scores))


def counts(micro_batch: MicroBatch, batch: Batch) -> bool:
    """Whether the rows of a batch count; those of a filler only let every process compute as often."""
    return not (micro_batch.is_filler or batch.is_filler)


def seed_dropout(seed: int, step: int, number: int) -> None:
    """Seed what dropout draws. It depends only on the position in the run, not on resuming or the processes."""
    torch.manual_seed(((seed * 1_000_003 + step) * 1_000_003 + number) % 2**63)
