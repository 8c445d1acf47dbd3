"""Optimizers, and the weights that they are given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.component import Component
from mdpo_core.types.kept_memory import OptimizerMemory, WeightSizes

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class TrainedWeights:
    """The weights that an optimizer updates.

    ``groups``: for torch's optimizers: ``params``, ``weight_decay``, and what `set_learning_rate` reads. ``matrices``:
    the ids of those parameters that are matrices of hidden layers; see `hidden_matrices`.
    """

    groups: Sequence[dict[str, Any]]
    matrices: frozenset[int]

    def split(self) -> tuple[TrainedWeights, TrainedWeights]:
        """Those of ``matrices``, and all others; groups without parameters are left out."""
        return self._of(True), self._of(False)

    def _of(self, hidden: bool) -> TrainedWeights:
        chosen = [
            {**group, "params": [each for each in group["params"] if (id(each) in self.matrices) is hidden]}
            for group in self.groups
        ]
        return TrainedWeights([group for group in chosen if group["params"]], self.matrices)


class UpdateOptions(Protocol):
    """What optimizers read of a recipe's section `train`."""

    @property
    def learning_rate(self) -> float:
        """The peak learning rate."""

    @property
    def adam_betas(self) -> tuple[float, float]:
        """The decay rates of AdamW's two moments."""


class Optimizer(Component):
    """How gradients become updates of the weights."""

    kind: ClassVar[str] = "optimizer"
    # True if it is of no use to a model of which no matrix of a hidden layer trains.
    needs_matrices: ClassVar[bool] = False

    def check(self, device: str) -> None:
        """Raise `RecipeError` if it cannot run here: a package is missing, or it is not for this kind of device.

        ``device``: as torch names it, such as ``cuda:0``.
        """
        return

    @abstractmethod
    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        """One or several of torch's optimizers, which together update every parameter of ``weights`` once.

        The engine sets the learning rate of each group before each step; groups that are made of others keep their
        keys. Whatever else changes from step to step must be in an optimizer's ``state``, as tensors and numbers of a
        parameter by name: checkpoints hold nothing else.
        """

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        """The memory of its state for such a model, if the whole model is in one process.

        A run with an optimizer without it trains, but its memory cannot be estimated.
        """
        raise RecipeError(f"the optimizer '{self.component_name()}' cannot say how much memory it keeps")


class AdamW(Optimizer):
    """AdamW (arXiv:1711.05101) of torch; its settings are train.adam_betas and train.weight_decay."""

    def start(self, weights: TrainedWeights, train: UpdateOptions, device: str) -> Sequence[torch.optim.Optimizer]:
        import torch

        # Updates of all tensors at once would copy them: on a GPU that would be a step's peak if all weights train.
        fused = torch.device(device).type == "cuda" or None
        return [torch.optim.AdamW([*weights.groups], lr=train.learning_rate, betas=train.adam_betas, fused=fused)]

    def keeps(self, weights: WeightSizes) -> OptimizerMemory:
        return OptimizerMemory(2 * weights.trained.bytes, widest_update=weights.widest.bytes)


def hidden_matrices(module: nn.Module) -> frozenset[int]:
    """The ids of the parameters of ``module`` that are matrices of hidden layers, those of LoRA among them.

    They are the weights of linear layers. The head is none: it is as large as the largest embedding, that of the
    vocabulary.
    """
    from torch import nn

    embeddings = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    vocabulary = max(embeddings, key=len).shape if embeddings else None
    linear = [part.weight for part in module.modules() if isinstance(part, nn.Linear)]
    shared = {id(weight) for weight in embeddings}
    return frozenset(
        id(weight) for weight in linear if weight.ndim == 2 and weight.shape != vocabulary and id(weight) not in shared
    )
