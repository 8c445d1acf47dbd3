"""The MLP of the last layer, computed only where its output is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import Packed


def trim_last_layer(model: PreTrainedModel) -> None:
    """Let the last layer's MLP compute only the positions in ``packed.read``, and give zeros elsewhere.

    Responses attend to the keys and values of a prompt, which the MLP of the last layer does not change. Its output is
    read only at positions that predict a token. This changes the model permanently; calls without ``packed`` compute
    every position, as before.
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
        # Deleting the attribute of the instance uncovers the method of its class.
        del mlp.forward


def _at(mlp: Callable[[Tensor], Tensor], places: Tensor, hidden_states: Tensor) -> Tensor:
    some = mlp(hidden_states.index_select(1, places))
    return some.new_zeros(hidden_states.shape).index_copy(1, places, some)
