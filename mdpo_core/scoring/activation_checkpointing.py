"""Activation checkpointing: saves memory, but runs some layers twice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_in_backward(layers: Sequence[nn.Module], which: Literal["off", "full"] | int) -> None:
    """Make layers keep only their inputs, and recompute the rest in backward. ``which``: all layers, or every n-th.

    Changes the layers permanently. Dropout is the same both times.
    """
    if which == "off":
        return
    for layer in layers[:: 1 if which == "full" else which]:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
