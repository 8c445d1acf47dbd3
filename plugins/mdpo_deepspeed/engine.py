"""The engine of the deepspeed backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import deepspeed
import torch
from torch import Tensor, nn

from mdpo_core import (
    Batch,
    Placement,
    SavedEngineState,
    ScorerOutput,
    TensorSlice,
    Train,
    TrainableScorer,
    parameter_groups,
    peak_memory,
    set_compute_device,
    set_learning_rate,
)
from mdpo_deepspeed.process import prepare
from mdpo_deepspeed.shares import read_shares, shares_of, written_pieces
from mdpo_deepspeed.stage3 import gather_whole_layers, gradients_one_by_one, num_dims, shape_of, split_while_loading

Result = TypeVar("Result")


class DeepSpeedEngine:
    """The `Engine` of the deepspeed backend: torch's AdamW inside DeepSpeed's engine."""

    def __init__(self, scorer: TrainableScorer, train: Train, placement: Placement, options: Mapping[str, Any]) -> None:
        TrainableScorer.require(scorer)
        prepare()
        self._options = options
        self._stage = int(options["zero_optimization"]["stage"])
        self._device = torch.device(placement.device)
        self._max_grad_norm = train.grad_norm_limit
        self._norm = math.nan
        self._engine = self._initialize(scorer, train, getattr(torch, placement.dtype))
        self._adamw: torch.optim.AdamW = self._engine.basic_optimizer
        if self._clips_itself:
            self._adamw.register_step_pre_hook(self._clip)
        self._world_size = deepspeed.comm.get_world_size()

    @property
    def _clips_itself(self) -> bool:
        """True if this engine clips gradients, because DeepSpeed gives no norm for plain float32."""
        return self._stage == 0 and not self._half

    @property
    def _half(self) -> bool:
        return bool(self._options["bf16"]["enabled"] or self._options["fp16"]["enabled"])

    def _initialize(self, scorer: TrainableScorer, train: Train, dtype: torch.dtype) -> Any:
        groups = parameter_groups(scorer, train, num_dims)
        self._trained = scorer.trained
        self._shapes = {name: shape_of(value) for name, value in self._trained.items()}
        for value in self._trained.values():
            # If weights are already split, DeepSpeed does not convert the dtype of new weights (LoRA's).
            value.data = value.data.to(dtype)
        if self._stage == 3:
            set_compute_device(scorer.model.module, self._device)
            gather_whole_layers(scorer.model.layers())
        # Learning rate 0, because some of DeepSpeed's optimizers start with a step.
        adamw = torch.optim.AdamW(
            groups,
            lr=0.0,
            betas=train.adam_betas,
            fused=self._device.type == "cuda" or None,
        )
        with gradients_one_by_one():
            engine, *_ = deepspeed.initialize(model=scorer.module, optimizer=adamw, config=self._config())
        # Do not count that step.
        engine.basic_optimizer.state.clear()
        return engine

    def _config(self) -> dict[str, Any]:
        config = dict(self._options)
        if self._clips_itself:
            config["gradient_clipping"] = 0.0
        numbers = sum(math.prod(shape) for shape in self._shapes.values())
        # DeepSpeed allocates a buffer of this size; the default would be far too large for LoRA.
        size = {"reduce_bucket_size": min(numbers, 500_000_000)}
        return config | {"zero_optimization": size | config["zero_optimization"]}

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        scored: ScorerOutput = self._engine(batch)
        return scored

    def backward(self, loss: Tensor) -> None:
        # DeepSpeed takes the mean over processes.
        self._engine.backward(loss * self._world_size * self._forgotten_scale)

    @property
    def _forgotten_scale(self) -> float:
        """The factor of float16's gradients at stage 0: DeepSpeed divides by it there, but does not multiply."""
        return float(self._engine.optimizer.loss_scale) if self._stage == 0 and self._half else 1.0

    def step(self, learning_rate: float) -> float:
        set_learning_rate(self._adamw, learning_rate)
        self._engine.step()
        return self._norm if self._clips_itself else self._reported_norm()

    def _reported_norm(self) -> float:
        norm = float(self._engine.get_global_grad_norm())
        if not math.isfinite(norm) or norm < 0:
            # DeepSpeed marks gradients that are not finite this way, and has dropped them.
            return math.nan
        if self._stage == 0:
            norm /= self._engine.optimizer.loss_scale
        return norm

    def _clip(self, *_: object) -> None:
        norm = nn.utils.clip_grad_norm_(self._trained.values(), self._max_grad_norm)
        if not norm.isfinite():
            for parameter in self._trained.values():
                parameter.grad = None
        self._norm = float(norm)

    def using_model(self, function: Callable[[], Result]) -> Result:
        if self._stage < 3:
            return function()
        # Under this setting, every process generates until the last one has finished.
        with split_while_loading(self._options):
            return function()

    def state(self) -> Iterator[TensorSlice]:
        return written_pieces(shares_of(self._engine, self._trained, self._shapes), self._adamw)

    def restore(self, state: SavedEngineState) -> None:
        read_shares(state, shares_of(self._engine, self._trained, self._shapes), self._adamw)
        self._copy_to_computed_weights()

    @torch.no_grad()
    def _copy_to_computed_weights(self) -> None:
        """Copy the weights that AdamW updates to the weights that forwards use."""
        optimizer = self._engine.optimizer
        if self._stage == 3:
            optimizer._partition_all_parameters()
            for group in range(len(optimizer.fp16_groups)):
                optimizer._reassign_or_swap_out_partitioned_parameters(group)
            optimizer._post_step(())
        elif self._stage > 0:
            optimizer.update_lp_params()
        elif self._half:
            for updated, computed in zip(optimizer.fp32_groups, optimizer.fp16_groups, strict=True):
                for source, target in zip(updated, computed, strict=True):
                    target.copy_(source)

    def peak_memory(self) -> float:
        return peak_memory(self._device)
