"""Batch sizes and intervals that fit a number of rows."""

from __future__ import annotations

from dataclasses import dataclass

_EPOCHS = 3
_LARGEST_BATCH, _AT_ONCE = 32, 2
_STEPS_PER_EPOCH = 4  # at least, where there are enough rows
_EVALUATIONS = 4  # in a run
_FEW_STEPS = 300


@dataclass(frozen=True)
class Sizes:
    """``every``: steps from one evaluation, and one checkpoint, to the next. ``learning_rate``: as YAML writes it."""

    epochs: int
    batch_size: int
    micro_batch_size: int
    learning_rate: str
    every: int

    @classmethod
    def of(cls, num_rows: int) -> Sizes:
        """The sizes for ``num_rows`` rows to train on: at most 32 a step, and at least four steps an epoch.

        In a few steps the paper's learning rate changes nothing that an evaluation shows, so a run of few takes more.
        """
        most = max(1, min(_LARGEST_BATCH, num_rows // _STEPS_PER_EPOCH))
        batch = 1 << (most.bit_length() - 1)
        steps = _EPOCHS * -(-num_rows // batch)
        rate = "1.0e-4" if steps < _FEW_STEPS else "1.0e-5"
        return cls(_EPOCHS, batch, min(_AT_ONCE, batch), rate, max(1, steps // _EVALUATIONS))
