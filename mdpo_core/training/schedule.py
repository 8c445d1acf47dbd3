"""The learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from mdpo_core.interfaces.train_options import Train


def learning_rate(train: Train, step: int, num_steps: int) -> float:
    """The learning rate of a step (counted from 0) out of ``num_steps``.

    It rises linearly over the first ``warmup_steps``, or ``warmup_ratio`` of the steps. The first step is included, so
    no step has a rate of 0. Then it stays, or falls so that the step after the last would have the schedule's last rate.
    """
    warmup = math.ceil(train.warmup_ratio * num_steps) if train.warmup_steps is None else train.warmup_steps
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / (num_steps - warmup)
    match train.schedule:
        case "constant":
            return train.learning_rate
        case "linear":
            return train.learning_rate * (1 - progress)
        case "cosine":
            return train.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        case name:
            options = tuple(train.schedule_options.items())
            return train.learning_rate * _factor(name, train.learning_rate, warmup, num_steps, options)(step)


@lru_cache
def _factor(
    name: str, peak: float, warmup: int, num_steps: int, options: tuple[tuple[str, int | float | str], ...]
) -> Callable[[int], float]:
    """The factor of the peak rate after the warm-up, by step, as transformers' schedule of this name computes it."""
    import torch
    from transformers import get_scheduler

    # The schedules read the peak rate from an optimizer.
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    schedule = get_scheduler(name, optimizer, warmup, num_steps, scheduler_specific_kwargs=dict(options))
    [factor] = schedule.lr_lambdas
    return factor
