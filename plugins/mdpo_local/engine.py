"""The engine of the local backend."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mdpo_core import Batch, CheckpointError, Scored, Train

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"


class LocalEngine:
    """AdamW on the scorer's parameters that require gradients."""

    def __init__(self, scorer: nn.Module, train: Train, device: str, autocast: bool) -> None:
        self._scorer = scorer
        self._device = torch.device(device)
        self._autocast = autocast
        self._max_grad_norm = train.max_grad_norm
        self._trained = {name: value for name, value in scorer.named_parameters() if value.requires_grad}
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self._trained, train.weight_decay),
            lr=train.learning_rate,
            betas=train.adam_betas,
        )

    def forward(self, batch: Batch) -> Scored:
        with self._precision():
            scored: Scored = self._scorer(batch)
        return scored

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def step(self, learning_rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self._trained.values(), self._max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if norm.isfinite():
            self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def save(self, folder: Path) -> None:
        save_file({name: value.detach().contiguous() for name, value in self._trained.items()}, folder / WEIGHTS)
        save_file(dict(self._moments()), folder / OPTIMIZER)

    def load(self, folder: Path) -> None:
        weights = load_file(folder / WEIGHTS, device=str(self._device))
        _require_same_names(weights, self._trained, folder)
        with torch.no_grad():
            for name, value in weights.items():
                self._trained[name].copy_(value)
        for key, value in load_file(folder / OPTIMIZER).items():
            moment, _, name = key.partition(":")
            parameter = self._trained[name]
            # AdamW counts its steps on the CPU; its moments live beside the parameter.
            place = torch.device("cpu") if moment == "step" else parameter.device
            self._optimizer.state[parameter][moment] = value.to(place)

    def peak_memory(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    def _precision(self) -> AbstractContextManager[object]:
        if not self._autocast:
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._trained.items():
            for moment, value in self._optimizer.state[parameter].items():
                yield f"{moment}:{name}", value.contiguous()


def parameter_groups(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices, which decay, and biases and norms, which do not."""
    matrices = [value for value in parameters.values() if value.ndim >= 2]
    others = [value for value in parameters.values() if value.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _require_same_names(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], folder: Path) -> None:
    different = sorted(found.keys() ^ expected.keys())
    if different:
        raise CheckpointError(f"{folder / WEIGHTS} holds other parameters than this model trains: {different[:5]}")
