"""Optimizers: AdamW, AdamW in 8 bits, Adafactor and Muon, each by the library that has it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mdpo_core import (
    AdamW,
    Component,
    Optimizer,
    OptimizerMemory,
    RecipeError,
    TrainedWeights,
    UpdateOptions,
    WeightSizes,
    hookimpl,
)

if TYPE_CHECKING:
    import torch


class AdamW8bit(Optimizer):
    """AdamW with both moments in 8 bits (arXiv:2110.02861), by bitsandbytes; on CUDA only."""

    def check(self, device: str) -> None:
        require_bitsandbytes(self, device)

    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        from bitsandbytes.optim import AdamW8bit

        return [AdamW8bit([*weights.groups], lr=train.learning_rate, betas=train.adam_betas)]

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        # A byte for each moment, and a factor of 32 bits for each block of 256 numbers.
        return OptimizerMemory(2 * (1 + 4 / 256) * weights.trained.numbers)


class PagedAdamW8bit(AdamW8bit):
    """AdamW in 8 bits, whose moments move to the machine's memory while the GPU is full; on CUDA only."""

    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        from mdpo_optimizers.paged import Paged

        return [Paged([*weights.groups], lr=train.learning_rate, betas=train.adam_betas)]

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        # What must stay on the GPU: the factors.
        return OptimizerMemory(2 * 4 / 256 * weights.trained.numbers)


class Adafactor(Optimizer):
    """Adafactor (arXiv:1804.04235) of transformers: second moments of rows and columns, and no first moment."""

    scale_parameter: bool = Field(
        default=False,
        description="learning rates are multiples of each tensor's root mean square, as in the paper; false: as in "
        "transformers' trainer",
    )

    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        from transformers.optimization import Adafactor

        groups, rate = [*weights.groups], train.learning_rate
        return [Adafactor(groups, lr=rate, relative_step=False, scale_parameter=self.scale_parameter)]

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        return OptimizerMemory(weights.edges.bytes, update=3 * weights.widest.bytes)


class Muon(Optimizer):
    """Muon (arXiv:2502.16982) of torch for matrices of hidden layers, LoRA's among them; AdamW for the rest."""

    needs_matrices: ClassVar[bool] = True
    momentum: float = Field(default=0.95, ge=0, lt=1, description="decay rate of the mean of gradients")
    nesterov: bool = Field(default=True, description="look ahead by Nesterov's momentum")
    ns_steps: int = Field(default=5, gt=0, lt=100, description="steps of the iteration that makes updates orthogonal")
    adjust_lr: Literal["match_rms_adamw", "original"] = Field(
        default="match_rms_adamw",
        description="match_rms_adamw: updates are as large as AdamW's, so that its learning rates fit; original: as in "
        "Keller Jordan's post, where learning rates are about 0.02",
    )

    def check(self, device: str) -> None:
        import torch

        if not hasattr(torch.optim, "Muon"):
            raise RecipeError(f"train.optimizer: muon needs torch 2.9 or newer, and {torch.__version__} is installed")

    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        import torch

        matrices, others = weights.split()
        options: dict[str, Any] = {"momentum": self.momentum, "nesterov": self.nesterov, "ns_steps": self.ns_steps}
        groups, rate = [*matrices.groups], train.learning_rate
        muon = torch.optim.Muon(groups, lr=rate, adjust_lr_fn=self.adjust_lr, **options)
        return [muon, *AdamW().start(others, train, device)] if others.groups else [muon]

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        matrices = weights.matrices.bytes
        return OptimizerMemory(matrices + 2 * (weights.trained.bytes - matrices), update=3 * weights.widest.bytes)


def require_bitsandbytes(optimizer: Optimizer, device: str) -> None:
    """Raise `RecipeError` without bitsandbytes, or on another device than CUDA."""
    name = optimizer.component_name()
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError(
            f'train.optimizer: {name} needs bitsandbytes, which is not installed: pip install "mdpo[bitsandbytes]"'
        )
    if device.partition(":")[0] != "cuda":
        raise RecipeError(f"train.optimizer: {name} needs CUDA, and this run trains on '{device}'; use adamw")


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {
        "adamw": AdamW,
        "adamw_8bit": AdamW8bit,
        "paged_adamw_8bit": PagedAdamW8bit,
        "adafactor": Adafactor,
        "muon": Muon,
    }
