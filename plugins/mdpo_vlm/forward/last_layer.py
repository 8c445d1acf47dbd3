"""The MLP of the last layer, computed only where its output is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import Packed
from mdpo_vlm.parts.names import decoder_of

# What layers call their MLP.
_NAMES = ("mlp", "feed_forward")


def trim_last_layer(model: PreTrainedModel) -> None:
    """Let the last layer's MLP compute only the positions in ``packed.read``, and give zeros elsewhere.

    Responses attend to the keys and values of a prompt, which the MLP of the last layer does not change. Its output is
    read only at positions that predict a token. This changes the model permanently; calls without ``packed`` compute
    every position, as before.
    """
    layer = decoder_of(model).layers[-1]
    mlp = next(getattr(layer, name) for name in _NAMES if hasattr(layer, name))
    layer.forward = partial(_layer_forward, mlp, layer.forward)


def _layer_forward(
    mlp: nn.Module, forward: Callable[..., Any], *args: Any, packed: Packed | None = None, **options: Any
) -> Any:
    """The layer's ``forward``, in which the MLP computes only some positions if there is a ``packed`` row."""
    if packed is None:
        return forward(*args, **options)
    with _mlp_only_at(mlp, packed.read):
        return forward(*args, packed=packed, **options)


@contextmanager
def _mlp_only_at(mlp: nn.Module, positions: Tensor) -> Iterator[None]:
    """Inside the block, the MLP computes only ``positions``."""
    # An attribute of the instance hides the method of its class, until it is deleted. Kernels may have set one before.
    before = vars(mlp).get("forward")
    mlp.forward = partial(_forward_only_at, mlp.forward, positions)
    try:
        yield
    finally:
        del mlp.forward
        if before is not None:
            mlp.forward = before


def _forward_only_at(mlp: Callable[[Tensor], Any], positions: Tensor, hidden_states: Tensor) -> Any:
    """``mlp`` of ``hidden_states (1, time, width)`` at ``positions``, and zeros elsewhere.

    Llama 4's experts give a row for each token, ``(time, width)``, and their router's output beside it.
    """
    output = mlp(hidden_states.index_select(1, positions))
    computed, *others = output if isinstance(output, tuple) else (output,)
    whole = computed.new_zeros(hidden_states.shape).index_copy(1, positions, computed.view(1, *computed.shape[-2:]))
    return (whole, *others) if others else whole
