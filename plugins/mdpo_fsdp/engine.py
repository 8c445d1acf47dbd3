"""The engine of the fsdp backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from mdpo_core import (
    MOMENTS,
    Batch,
    SavedEngineState,
    ScorerOutput,
    TensorSlice,
    Train,
    TrainableScorer,
    parameter_groups,
    peak_memory,
    place_step_count,
    set_learning_rate,
)
from mdpo_fsdp.sharding import Sharding, start_of

Result = TypeVar("Result")


class FSDPEngine:
    """The `Engine` of the fsdp backend: AdamW on this process's part of the scorer's trained parameters."""

    def __init__(self, scorer: TrainableScorer, train: Train, sharding: Sharding, every_micro_batch: bool) -> None:
        TrainableScorer.require(scorer)
        self._scorer = scorer.module
        self._device = sharding.device
        self._every_micro_batch = every_micro_batch
        self._max_grad_norm = train.grad_norm_limit
        self._root = _Root(scorer.module)
        self._units = sharding.place(self._root, scorer.model)
        self._trained = {name: cast(DTensor, value) for name, value in scorer.trained.items()}
        self._optimizer = torch.optim.AdamW(
            parameter_groups(scorer, train),
            lr=train.learning_rate,
            betas=train.adam_betas,
            # As in the local backend. With offload, weights are on the CPU.
            fused=sharding.updates_on_cuda or None,
        )

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        if not torch.is_grad_enabled():
            return self.using_model(lambda: cast(ScorerOutput, self._scorer(batch)))
        self._units[-1].set_requires_gradient_sync(last or self._every_micro_batch)
        return cast(ScorerOutput, self._root(lambda: self._scorer(batch)))

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def step(self, learning_rate: float) -> float:
        norm = cast(DTensor, nn.utils.clip_grad_norm_(self._trained.values(), self._max_grad_norm)).full_tensor()
        set_learning_rate(self._optimizer, learning_rate)
        if norm.isfinite():
            self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def using_model(self, function: Callable[[], Result]) -> Result:
        with torch.no_grad():
            result = self._root(function)
        # Split the gathered weights: no backward follows that does it, and FSDP would not update gathered weights.
        for unit in self._units:
            unit.reshard()
        return cast(Result, result)

    def state(self) -> Iterator[TensorSlice]:
        for name, parameter in self._trained.items():
            yield from _slice_of(f"weight:{name}", parameter)
            for kind, value in self._optimizer.state[parameter].items():
                if kind in MOMENTS:
                    yield from _slice_of(f"{kind}:{name}", value)
                elif distributed.get_rank() == 0:
                    yield TensorSlice(f"{kind}:{name}", value.reshape(-1).cpu(), 0, ())

    def restore(self, state: SavedEngineState) -> None:
        self._optimizer.state.clear()
        with torch.no_grad():
            for name, parameter in self._trained.items():
                _read_into(parameter, state, f"weight:{name}")
                if f"step:{name}" in state:  # AdamW had updated it
                    moments = {kind: cast(DTensor, torch.zeros_like(parameter)) for kind in MOMENTS}
                    for kind, value in moments.items():
                        _read_into(value, state, f"{kind}:{name}")
                    count = place_step_count(self._optimizer, state.whole(f"step:{name}", ()), parameter)
                    self._optimizer.state[parameter] = {"step": count, **moments}

    def peak_memory(self) -> float:
        return peak_memory(self._device)


class _Root(nn.Module):
    """Calls a function while the weights outside the layers are gathered."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, function: Callable[[], Result]) -> Result:
        return function()


def _slice_of(name: str, tensor: DTensor) -> Iterator[TensorSlice]:
    """This process's part of a tensor; nothing if other processes have all rows."""
    values = tensor.to_local().detach().reshape(-1).cpu()
    if len(values):
        yield TensorSlice(name, values, start_of(tensor), tuple(tensor.shape))


def _read_into(tensor: DTensor, state: SavedEngineState, name: str) -> None:
    local, start = tensor.to_local(), start_of(tensor)
    local.copy_(state.read(name, tensor.shape, start, start + local.numel()).reshape(local.shape))
