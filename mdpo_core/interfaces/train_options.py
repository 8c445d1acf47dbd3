"""The options of a recipe's section `train`, which backends get, and the base class of such sections."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of a recipe that has only options: it does not choose a component."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Train(Section):
    """How the policy is optimized."""

    epochs: int = Field(default=1, gt=0, description="passes over the data")
    batch_size: int = Field(default=32, gt=0, description="pairs per optimizer step, over all processes")
    micro_batch_size: int = Field(default=4, gt=0, description="pairs per forward, per process")
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="shape of the learning rate after the warm-up"
    )
    warmup_ratio: float = Field(
        default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises from 0"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="weight decay of AdamW, only on matrices (not on biases and norms)"
    )
    adam_betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay rates of AdamW's two moments")
    max_grad_norm: float = Field(default=1.0, gt=0, description="global norm to which gradients are clipped")
    log_every: int = Field(default=1, gt=0, description="steps per line of metrics.jsonl")
    workers: int = Field(
        default=0,
        ge=0,
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
        default=0, ge=0, description="seed of the pairs' order, the corruptions, LoRA's initial weights and dropout"
    )
