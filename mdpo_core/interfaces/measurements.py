"""What a term may have computed beside log-probs: statistics of each token, and modules that it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Statistic:
    """A number for each response token, made of the whole distribution that predicts it.

    ``function(policy, reference)`` is given log-probs ``(tokens, vocab)`` of some tokens, at least in float32, and
    gives ``(tokens,)``. ``reference`` is None unless ``needs_reference``; gradients flow into the policy alone.
    """

    function: Callable[[Tensor, Tensor | None], Tensor]
    needs_reference: bool = False


@dataclass(frozen=True)
class Probe:
    """A small module that a term trains with the model. Checkpoints hold it; the exported model does not.

    ``make(layers, width)`` returns the module. It maps the hidden states that predict the tokens, ``(tokens, layers,
    width)`` in float32, to ``(tokens, outputs)``. ``reads``: "policy" is its last layer, with gradients; "reference" is
    every layer, without.
    """

    make: Callable[[int, int], nn.Module]
    reads: Literal["policy", "reference"] = "policy"
