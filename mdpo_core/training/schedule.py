"""The learning rate of each step."""

from __future__ import annotations

import math

from mdpo_core.interfaces.train_options import Train


def learning_rate(train: Train, step: int, num_steps: int) -> float:
    """The learning rate of a step (counted from 0) out of ``num_steps``.

    It rises linearly over the first ``warmup_ratio`` of the steps. The first step is included, so no step has a rate of
    0. Then it stays, or falls so that the step after the last would have a rate of 0.
    """
    warmup = math.ceil(train.warmup_ratio * num_steps)
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
