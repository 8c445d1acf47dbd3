"""The learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from mdpo_core.interfaces.train_options import Train


def learning_rate(train: Train, step: int, num_steps: int) -> float:
    """The learning rate of a step (counted from 0) out of ``num_steps``.

    It rises linearly over the first ``warmup_steps``, or over ``warmup_ratio`` of the steps. The first step is
    included, so no step has a rate of 0. Then it stays, or falls so that the step after the last would have the least
    rate of the schedule.
    """
    warmup = train.num_warmup_steps(num_steps)
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    return train.learning_rate * _FACTORS[train.schedule](train, step, warmup, num_steps)


def _constant(train: Train, step: int, warmup: int, num_steps: int) -> float:
    return 1.0


def _linear(train: Train, step: int, warmup: int, num_steps: int) -> float:
    return 1 - _progress(step, warmup, num_steps)


def _cosine(train: Train, step: int, warmup: int, num_steps: int) -> float:
    return _half_cosine(_progress(step, warmup, num_steps))


def _polynomial(train: Train, step: int, warmup: int, num_steps: int) -> float:
    options = _numbers(train, power=1.0, lr_end=1e-7)
    least = options["lr_end"] / train.learning_rate
    return least + (1 - least) * math.pow(1 - _progress(step, warmup, num_steps), options["power"])


def _inverse_sqrt(train: Train, step: int, warmup: int, num_steps: int) -> float:
    timescale = _numbers(train, timescale=warmup or 10_000)["timescale"]
    return 1 / math.sqrt((step - warmup + timescale) / timescale)


def _cosine_with_restarts(train: Train, step: int, warmup: int, num_steps: int) -> float:
    cycles = _numbers(train, num_cycles=1)["num_cycles"]
    return _half_cosine((cycles * _progress(step, warmup, num_steps)) % 1)


def _cosine_with_min_lr(train: Train, step: int, warmup: int, num_steps: int) -> float:
    options = _numbers(train, min_lr_rate=0.0, num_cycles=0.5)
    falling = _half_cosine(2 * options["num_cycles"] * _progress(step, warmup, num_steps))
    return max(0.0, options["min_lr_rate"] + (1 - options["min_lr_rate"]) * falling)


def _warmup_stable_decay(train: Train, step: int, warmup: int, num_steps: int) -> float:
    options = _numbers(train, num_decay_steps=1, min_lr_ratio=0.0, num_cycles=0.5)
    progress = max(0.0, (step - (num_steps - options["num_decay_steps"])) / options["num_decay_steps"])
    match train.schedule_options.get("decay_type", "cosine"):
        case "linear":
            falling = 1 - progress
        case "1-sqrt":
            falling = 1 - math.sqrt(progress)
        case _:
            falling = _half_cosine(2 * options["num_cycles"] * progress)
    return max(0.0, options["min_lr_ratio"] + (1 - options["min_lr_ratio"]) * falling)


_FACTORS: Mapping[str, Callable[[Train, int, int, int], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "cosine_with_restarts": _cosine_with_restarts,
    "cosine_with_min_lr": _cosine_with_min_lr,
    "warmup_stable_decay": _warmup_stable_decay,
}


def _progress(step: int, warmup: int, num_steps: int) -> float:
    """The share of the steps after the warm-up that are over: from 0 to just below 1."""
    return (step - warmup) / (num_steps - warmup)


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _numbers(train: Train, **defaults: float) -> dict[str, float]:
    chosen = {name: float(value) for name, value in train.schedule_options.items() if name in defaults}
    return {**defaults, **chosen}
