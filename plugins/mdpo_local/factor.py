"""The factor of float16's gradients (torch's GradScaler)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mdpo_core import OF_ENGINE, SavedEngineState, TensorSlice, Updates, whole_tensor

_SCALE, _GROWTH = f"{OF_ENGINE}:scale", f"{OF_ENGINE}:growth"


class Factor:
    """Multiplies losses; halves itself when gradients overflow, and doubles after many steps in which none did."""

    def __init__(self, device: torch.device) -> None:
        self._scaler = torch.amp.GradScaler(device.type)

    def times(self, loss: Tensor) -> Tensor:
        """The loss times the factor."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def divide_gradients(self, optimizer: Updates) -> None:
        """Take the factor out of the gradients, and note whether they are finite."""
        for part in optimizer.parts:
            self._scaler.unscale_(part)

    def adapt(self, norm: float) -> float:
        """Change the factor after a step, whose gradients had this norm, and give the norm as `Engine.step` does.

        Infinite: they overflowed, and the next ones get half the factor. NaN: not even a factor of 1 would help.
        """
        before = self._scaler.get_scale()
        self._scaler.update()
        if math.isfinite(norm):
            return norm
        return math.inf if 1 <= self._scaler.get_scale() < before else math.nan

    def state(self) -> Iterator[TensorSlice]:
        """The factor, and the steps since it changed."""
        state = self._scaler.state_dict()
        yield whole_tensor(_SCALE, torch.tensor(state["scale"], dtype=torch.float64))
        yield whole_tensor(_GROWTH, torch.tensor(state["_growth_tracker"], dtype=torch.int64))

    def restore(self, state: SavedEngineState) -> None:
        """Take up what `state` gave; a checkpoint of a run in another precision has nothing of it."""
        if _SCALE in state:
            saved = {"scale": state.whole(_SCALE, ()).item(), "_growth_tracker": state.whole(_GROWTH, ()).item()}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **saved})
