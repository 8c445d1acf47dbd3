"""placeholder while the interfaces settle"""
from pydantic import BaseModel, ConfigDict, Field
from typing import Literal


class Train(BaseModel):
    """How the policy is optimized."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    epochs: int = Field(default=1, gt=0, description="passes over the data")
    batch_size: int = Field(default=32, gt=0, description="pairs per optimizer step, over all processes")
    micro_batch_size: int = Field(default=4, gt=0, description="pairs per forward, per process")
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="decay after warm-up")
    warmup_ratio: float = Field(default=0.1, ge=0, le=1, description="share of the steps that warm up, linearly from 0")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's, on weight matrices only")
    adam_betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of AdamW's two moments")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this global norm")
    log_every: int = Field(default=1, gt=0, description="steps per line of metrics.jsonl")
    seed: int = Field(default=0, ge=0, description="of the order of pairs, the corruptions, LoRA's weights and dropout")


class Recipe: ...


def load_recipe(): ...
