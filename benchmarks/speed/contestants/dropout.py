"""What LoRA's dropout adds to our step: steps with it and without it take turns in one process."""

from __future__ import annotations

import time
from dataclasses import replace

from torch import nn

from benchmarks.speed.contestants.ours import begin, forward_backward, objective_of
from benchmarks.speed.job import FASTEST, LEARNING_RATE, NUM_TERMS, Job, Result


def run(job: Job) -> Result:
    """``seconds[per cent]`` of ``job.steps`` steps each, on a CPU."""
    begun = begin(replace(job, contestant=FASTEST))
    batch = begun.builder.build(begun.examples, range(job.shape.num_pairs), epoch=0)
    dropouts = [module for module in begun.model.module.modules() if isinstance(module, nn.Dropout)]
    assert dropouts, "no adapter has a dropout"
    objective, shares = objective_of(NUM_TERMS), (0.0, job.dropout)
    seconds: dict[int, list[float]] = {round(100 * share): [] for share in shares}
    for step in range(1 + job.steps):
        for share in shares:
            for module in dropouts:
                module.p = share
            started = time.perf_counter()
            forward_backward(begun.engine, objective, batch, step)
            begun.engine.step(LEARNING_RATE)
            if step > 0:  # the first of each warms up
                seconds[round(100 * share)].append(time.perf_counter() - started)
    return Result(seconds=seconds)
