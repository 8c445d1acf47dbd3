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
from mdpo_local.factor import Factor

Result = TypeVar("Result")


class LocalEngine:
    """The `Engine` of the local backend: the recipe's optimizer on whole parameters, the same in every process.

    ``autocast``: the type of arithmetic, if it is not that of the weights. ``scales``: gradients are computed with a
    factor, which keeps small ones above float16's least number; it falls when they overflow, and rises again later.
    """

    def __init__(
        self,
        scorer: TrainableScorer,
        train: Train,
        device: str,
        autocast: torch.dtype | None,
        world: World,
        *,
        scales: bool = False,
    ) -> None:
        TrainableScorer.require(scorer)
        self._scorer = scorer.module
        self._world = world
        self._parallel = _parallel(scorer.module) if world.size > 1 else None
        self._device = torch.device(device)
        self._autocast = autocast
        self._max_grad_norm = train.grad_norm_limit
        self._trained = scorer.trained
        self._optimizer = Updates(scorer, train, device)
        self._factor = Factor(self._device) if scales else None

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        with self._autocast_if_set(), self._synchronized_if(last):
            scored: ScorerOutput = (self._parallel or self._scorer)(batch)
        return scored

    def backward(self, loss: Tensor) -> None:
        # DDP takes the mean of gradients over the processes; a loss is already divided by the pairs of all of them.
        loss = loss * self._world.size
        torch.autograd.backward(loss if self._factor is None else self._factor.times(loss))

    def step(self, learning_rate: float) -> float:
        if self._factor is not None:
            self._factor.divide_gradients(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._trained.values(), self._max_grad_norm)
        if norm.isfinite():
            self._optimizer.step(learning_rate)
        # Keep DDP's gradients: they are views of its buckets, and new tensors would take memory beside the buckets.
        self._optimizer.zero_grad(set_to_none=self._parallel is None)
        return float(norm) if self._factor is None else self._factor.adapt(float(norm))

    def using_model(self, function: Callable[[], Result]) -> Result:
        return function()

    def state(self) -> Iterator[TensorSlice]:
        for name in list(self._trained)[self._world.rank :: self._world.size]:
            parameter = self._trained[name]
            yield whole_tensor(f"weight:{name}", parameter)
            yield from self._optimizer.state(name)
        if self._factor is not None and self._world.is_main:
            yield from self._factor.state()

    def restore(self, state: SavedEngineState) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state.whole(f"weight:{name}", parameter.shape))
        self._optimizer.restore(state)
        if self._factor is not None:
            self._factor.restore(state)

    def peak_memory(self) -> float:
        return peak_memory(self._device)

    def _autocast_if_set(self) -> AbstractContextManager[object]:
        return nullcontext() if self._autocast is None else torch.autocast(self._device.type, self._autocast)

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
