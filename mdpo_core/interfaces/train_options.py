"""The options of a recipe's section `train`, which backends get, and what a run watches in its evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from mdpo_core.interfaces.component import Section
from mdpo_core.interfaces.optimizer import AdamW, Optimizer

_FORM = "a metric of an evaluation is called eval/EVALUATOR/METRIC, for example eval/preference/logps/accuracy/picture"


class Goal(Section):
    """A metric of the evaluations, and whether more or less of it is better."""

    metric: str = Field(description="the metric, as metrics.jsonl calls it: eval/EVALUATOR/METRIC")
    mode: Literal["max", "min"] | None = Field(
        default=None,
        description="max: larger is better; min: smaller is better; null: min for a loss, that is, if a part of METRIC "
        "is loss, max for all others",
    )

    @field_validator("metric")
    @classmethod
    def _is_of_an_evaluation(cls, metric: str) -> str:
        parts = metric.split("/")
        if len(parts) < 3 or parts[0] != "eval" or not all(parts):
            raise ValueError(_FORM)
        return metric

    @property
    def evaluator(self) -> str:
        """The name of the evaluator that measures it."""
        return self.metric.split("/")[1]

    @property
    def name(self) -> str:
        """The metric's name in its evaluator."""
        return self.metric.split("/", 2)[2]

    @property
    def less_is_better(self) -> bool:
        """Whether smaller values are better: as ``mode`` says, or else if it is a loss."""
        return "loss" in self.name.split("/") if self.mode is None else self.mode == "min"


class KeepBest(Goal):
    """Keep the checkpoint that was best by a metric, and export it as ``best/``."""


class StopEarly(Goal):
    """End training when a metric no longer gets better."""

    patience: int = Field(default=3, gt=0, description="evaluations in a row without a better value that end the run")
    min_delta: float = Field(default=0.0, ge=0, description="a value counts as better only by more than this")


# The options of each schedule, as transformers names them.
SCHEDULE_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "polynomial": ("power", "lr_end"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_restarts": ("num_cycles",),
    "cosine_with_min_lr": ("min_lr_rate", "num_cycles"),
    "warmup_stable_decay": ("num_decay_steps", "decay_type", "min_lr_ratio", "num_cycles"),
}
_ABOVE_0 = ("num_decay_steps", "timescale", "num_cycles")
_DECAYS = ("linear", "cosine", "1-sqrt")
_NEEDED = {"cosine_with_min_lr": "min_lr_rate", "warmup_stable_decay": "num_decay_steps"}


class Train(Section):
    """How the policy is optimized."""

    epochs: int = Field(default=1, gt=0, le=10_000, description="passes over the data")
    max_steps: int | None = Field(
        default=None, gt=0, le=2**31, description="optimizer steps of the run, instead of epochs; streams need it"
    )
    batch_size: int = Field(default=32, gt=0, le=1_000_000, description="pairs per optimizer step, over all processes")
    micro_batch_size: int = Field(default=4, gt=0, le=1_000_000, description="pairs per forward, per process")
    optimizer: SerializeAsAny[Optimizer] | None = Field(
        default=None,
        description="what updates the weights: a name, or {optimizer: NAME, ...} with its options; null: adamw",
    )
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate")
    schedule: Literal[
        "cosine",
        "linear",
        "constant",
        "polynomial",
        "inverse_sqrt",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "warmup_stable_decay",
    ] = Field(default="cosine", description="shape of the learning rate after the warm-up")
    schedule_options: Mapping[str, int | float | str] = Field(
        default={},
        description="options of the schedule, as transformers calls them: polynomial: power, lr_end; inverse_sqrt: "
        "timescale; cosine_with_restarts: num_cycles; cosine_with_min_lr: min_lr_rate, num_cycles; "
        "warmup_stable_decay: num_decay_steps, decay_type, min_lr_ratio, num_cycles",
    )
    warmup_ratio: float = Field(
        default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises from 0"
    )
    warmup_steps: int | None = Field(
        default=None,
        ge=0,
        le=2**31,
        description="steps in which the learning rate rises, instead of warmup_ratio; fewer than those of the run",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=10, description="weight decay, only on matrices (not on biases and norms)"
    )
    adam_betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="decay rates of AdamW's two moments, also in 8 bits and beside Muon"
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="global norm to which gradients are clipped; null: they are not clipped"
    )
    neftune_noise_alpha: float | None = Field(
        default=None,
        gt=0,
        description="noise on the embeddings of tokens while the policy trains (NEFTune, arXiv:2310.05914); null: none",
    )
    router_aux_loss_coef: float | None = Field(
        default=None,
        gt=0,
        description="weight of a loss that lets the routers of a mixture of experts use all experts evenly (load "
        "balancing, arXiv:2101.03961), added to the loss of each pair; null: none",
    )
    stop_early: StopEarly | None = Field(
        default=None, description="end the run when a metric of the evaluations no longer gets better"
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
    group_by: Literal["prompt"] | None = Field(
        default=None,
        description="prompt: rows with the same prompt and pictures come one after the other, so that the rows of a "
        "micro-batch compute them once; null: rows are shuffled one by one",
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

    @model_validator(mode="after")
    def _schedule_has_its_options(self) -> Self:
        allowed = SCHEDULE_OPTIONS.get(self.schedule, ())
        unknown = next((name for name in self.schedule_options if name not in allowed), None)
        if unknown is not None:
            listed = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise ValueError(f"schedule_options: the schedule '{self.schedule}' has no '{unknown}'; {listed}")
        for name, value in self.schedule_options.items():
            if name == "decay_type" and value not in _DECAYS:
                raise ValueError(f"schedule_options: decay_type is one of {', '.join(_DECAYS)}")
            if name != "decay_type" and isinstance(value, str):
                raise ValueError(f"schedule_options: {name} must be a number, found '{value}'")
            if not isinstance(value, str) and (value < 0 or (value == 0 and name in _ABOVE_0)):
                raise ValueError(f"schedule_options: {name} must be {'above' if name in _ABOVE_0 else 'at least'} 0")
        if self.schedule == "polynomial" and self.schedule_options.get("lr_end", 1e-7) >= self.learning_rate:  # type: ignore[operator]  # a number, see above
            raise ValueError("schedule_options: lr_end must be below learning_rate")
        needed = _NEEDED.get(self.schedule)
        if needed is not None and needed not in self.schedule_options:
            raise ValueError(f"the schedule '{self.schedule}' needs schedule_options: {{{needed}: ...}}")
        return self

    def num_warmup_steps(self, num_steps: int) -> int:
        """The steps of a run of ``num_steps`` in which the learning rate rises."""
        return math.ceil(self.warmup_ratio * num_steps) if self.warmup_steps is None else self.warmup_steps

    @property
    def chosen_optimizer(self) -> Optimizer:
        """The optimizer: AdamW if none is named."""
        return self.optimizer or AdamW()

    @property
    def grad_norm_limit(self) -> float:
        """The norm to which gradients are clipped; infinity if they are not."""
        return math.inf if self.max_grad_norm is None else self.max_grad_norm
