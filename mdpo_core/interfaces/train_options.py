"""The options of a recipe's section `train`, which backends get, and the base class of such sections."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from mdpo_core.interfaces.component import Options


class Section(Options):
    """A section of a recipe that has only options: it does not choose a component."""


class Train(Section):
    """How the policy is optimized."""

    epochs: int = Field(default=1, gt=0, le=10_000, description="passes over the data")
    max_steps: int | None = Field(
        default=None, gt=0, le=2**31, description="optimizer steps of the run, instead of epochs; streams need it"
    )
    batch_size: int = Field(default=32, gt=0, le=1_000_000, description="pairs per optimizer step, over all processes")
    micro_batch_size: int = Field(default=4, gt=0, le=1_000_000, description="pairs per forward, per process")
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="shape of the learning rate after the warm-up"
    )
    warmup_ratio: float = Field(
        default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises from 0"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=10, description="weight decay of AdamW, only on matrices (not on biases and norms)"
    )
    adam_betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay rates of AdamW's two moments")
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="global norm to which gradients are clipped; null: they are not clipped"
    )
    log_every: int = Field(default=1, gt=0, description="steps per line of metrics.jsonl")
    metrics_by_source: bool = Field(
        default=False,
        description="also log every metric of the objective by source of a mixture: loss/NAME, and so on",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="processes that read, corrupt and encode ahead; 0: none (a script that calls run() with more "
        'needs `if __name__ == "__main__":` around the call)',
    )
    length_window: int = Field(
        default=0,
        ge=0,
        description="batches of pairs of similar length are formed within windows of this many shuffled batches; "
        "0: batches are as shuffled",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="seed of the pairs' order, the corruptions, LoRA's initial weights and dropout",
    )

    @field_validator("max_grad_norm", mode="before")
    @classmethod
    def _clipping_is_switched_off_by_null(cls, norm: Any) -> Any:
        if norm == 0:
            raise ValueError("null switches clipping off, not 0")
        return norm

    @property
    def grad_norm_limit(self) -> float:
        """The norm to which gradients are clipped; infinity if they are not."""
        return math.inf if self.max_grad_norm is None else self.max_grad_norm
