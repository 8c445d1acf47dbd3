"""What every backend's optimizer has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def _num_dims(parameter: Tensor) -> int:
    return parameter.ndim


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, num_dims: Callable[[nn.Parameter], int] = _num_dims
) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices, which decay, and biases and norms, which do not. One that is empty is left out.

    To be made while the parameters have their own shapes: a backend may lay them out flat. ``num_dims`` is for those
    that have lost theirs.
    """
    found = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [value for value in found if num_dims(value) >= 2], "weight_decay": weight_decay},
        {"params": [value for value in found if num_dims(value) < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
