"""Parameter groups and learning rates for the optimizers of all backends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mdpo_core.interfaces.backend import TrainableScorer
from mdpo_core.types.engine_state import POLICY_PREFIX

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from mdpo_core.interfaces.adapter import ModelAdapter
    from mdpo_core.interfaces.model import VisionLanguageModel
    from mdpo_core.interfaces.train_options import Train
    from mdpo_core.recipe.recipe import Recipe

_FACTOR = "rate_factor"


def _num_dims(parameter: Tensor) -> int:
    return parameter.ndim


def parameter_groups(
    scorer: TrainableScorer, train: Train, num_dims: Callable[[nn.Parameter], int] = _num_dims
) -> list[dict[str, Any]]:
    """Groups for AdamW of what trains in a scorer, for `set_learning_rate`.

    Matrices decay; biases and norms do not. Call this before the backend flattens parameters; ``num_dims`` is for
    parameters that have already lost their shape. Raises `TypeError` for a plain module.
    """
    TrainableScorer.require(scorer)
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, value in scorer.trained.items():
        decay = train.weight_decay if num_dims(value) >= 2 else 0.0
        groups[decay, scorer.rate_factors.get(name, 1.0)].append(value)
    return [{"params": values, "weight_decay": decay, _FACTOR: factor} for (decay, factor), values in groups.items()]


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next update; each group gets it times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[_FACTOR]


def place_step_count(optimizer: Optimizer, count: Tensor, parameter: Tensor) -> Tensor:
    """AdamW's step count of a parameter, where this optimizer keeps it: on the parameter's device if it is fused."""
    return count.to(parameter.device) if optimizer.defaults["fused"] else count


def numbers_of_parts(recipe: Recipe, model: VisionLanguageModel) -> dict[str, dict[str, float]]:
    """The numbers of each part for the hook `mdpo_model_loaded`."""
    by_part: dict[str, dict[str, float]] = {}
    for part, names in model.parts().items():
        training = recipe.model.training[part]
        numbers: dict[str, float] = {"trained": 0, "frozen": 0}
        for name in names:
            value = model.module.get_parameter(name)
            # A byte holds two numbers of 4 bits.
            size = math.prod(recipe.backend.shape_of(value)) * (2 if str(value.dtype) == "torch.uint8" else 1)
            numbers["trained" if value.requires_grad else "frozen"] += size
        rate = 0.0 if training.mode == "frozen" else training.learning_rate or recipe.train.learning_rate
        rank = 0 if training.lora is None else training.lora.rank
        by_part[part] = numbers | {"lora_rank": rank, "learning_rate": rate}
    return by_part


def rate_factors(adapter: ModelAdapter, model: VisionLanguageModel, train: Train) -> dict[str, float]:
    """Factors of the learning rate for parts that set their own, by the parameters' names in the scorer."""
    parts = model.parts()
    return {
        f"{POLICY_PREFIX}{name}": training.learning_rate / train.learning_rate
        for part, training in adapter.training.items()
        if training.learning_rate is not None
        for name in parts.get(part, ())
    }
