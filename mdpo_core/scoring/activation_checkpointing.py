"""Activation checkpointing: less memory, for a second forward of some layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_in_backward(layers: Sequence[nn.Module], which: Literal["off", "full"] | int) -> None:
    """Let layers keep their inputs only and compute everything else again in backward: all, or every n-th.

    The layers are changed for good. Dropout is the same both times.
    """
    if which == "off":
        return
    for layer in layers[:: 1 if which == "full" else which]:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
