"""The engine of the local backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mdpo_core import (
    Batch,
    SavedEngineState,
    ScorerOutput,
    TensorSlice,
    Train,
    TrainableScorer,
    Updates,
    World,
    peak_memory,
    whole_tensor,
)

Result = TypeVar("Result")


class LocalEngine:
    """The `Engine` of the local backend: the recipe's optimizer on whole parameters, the same in every process."""

    def __init__(self, scorer: TrainableScorer, train: Train, device: str, autocast: bool, world: World) -> None:
        TrainableScorer.require(scorer)
        self._scorer = scorer.module
        self._world = world
        self._parallel = _parallel(scorer.module) if world.size > 1 else None
        self._device = torch.device(device)
        self._autocast = autocast
        self._max_grad_norm = train.grad_norm_limit
        self._trained = scorer.trained
        self._optimizer = Updates(scorer, train, device)

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        with self._autocast_if_set(), self._synchronized_if(last):
            scored: ScorerOutput = (self._parallel or self._scorer)(batch)
        return scored

    def backward(self, loss: Tensor) -> None:
        # DDP takes the mean of gradients over the processes; a loss is already divided by the pairs of all of them.
        torch.autograd.backward(loss * self._world.size)

    def step(self, learning_rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self._trained.values(), self._max_grad_norm)
        if norm.isfinite():
            self._optimizer.step(learning_rate)
        # Keep DDP's gradients: they are views of its buckets, and new tensors would take memory beside the buckets.
        self._optimizer.zero_grad(set_to_none=self._parallel is None)
        return float(norm)

    def using_model(self, function: Callable[[], Result]) -> Result:
        return function()

    def state(self) -> Iterator[TensorSlice]:
        for name in list(self._trained)[self._world.rank :: self._world.size]:
            parameter = self._trained[name]
            yield whole_tensor(f"weight:{name}", parameter)
            yield from self._optimizer.state(name)

    def restore(self, state: SavedEngineState) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state.whole(f"weight:{name}", parameter.shape))
        self._optimizer.restore(state)

    def peak_memory(self) -> float:
        return peak_memory(self._device)

    def _autocast_if_set(self) -> AbstractContextManager[object]:
        if not self._autocast:
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _synchronized_if(self, last: bool) -> AbstractContextManager[object]:
        """A context for a forward. The backward of the last forward exchanges the sum of all gradients."""
        return nullcontext() if last or self._parallel is None else self._parallel.no_sync()


def _parallel(scorer: nn.Module) -> DistributedDataParallel:
    # With `find_unused_parameters`, DDP keeps its order of gradients. Without it, DDP sorts them after its first step
    # by the time at which they were ready. Sums over three or more processes depend on that order, and a resumed run
    # has a first step again.
    with warnings.catch_warnings():
        # The new name of the option does not exist in the oldest torch that we support.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            scorer,
            find_unused_parameters=True,
            # No buffer changes; sending buffers would make the processes wait for one another in every forward.
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
