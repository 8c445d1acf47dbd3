"""The last layer, without what nobody reads of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import Packed


def trim_last_layer(model: PreTrainedModel) -> None:
    """Let the last layer's MLP work at ``packed.read`` alone, and add nothing elsewhere.

    Of a prompt's tokens, responses attend to keys and values; behind the last layer only what predicts is read. The
    model is changed for good.
    """
    layer = model.get_decoder().layers[-1]
    layer.forward = partial(_forward, layer.mlp, layer.forward)


def _forward(
    mlp: nn.Module, whole: Callable[..., Any], *args: Any, packed: Packed | None = None, **options: Any
) -> Any:
    if packed is None:
        return whole(*args, **options)
    mlp.forward = partial(_at, mlp.forward, packed.read)
    try:
        return whole(*args, packed=packed, **options)
    finally:
        # The instance's attribute hides the method of its class.
        del mlp.forward


def _at(mlp: Callable[[Tensor], Tensor], places: Tensor, hidden_states: Tensor) -> Tensor:
    some = mlp(hidden_states.index_select(1, places))
    return some.new_zeros(hidden_states.shape).index_copy(1, places, some)
