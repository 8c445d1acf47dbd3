"""What terms ask of a scorer: views, statistics of each token, and probes, which are modules that terms train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Statistic:
    """A number for each response token, computed from the whole distribution that predicts the token.

    ``function(policy, reference)`` maps log-probs ``(tokens, vocab)`` of some tokens, in float32 or float64, to
    ``(tokens,)``. ``reference`` is None unless ``needs_reference``. Gradients flow only into ``policy``.
    """

    function: Callable[[Tensor, Tensor | None], Tensor]
    needs_reference: bool = False


@dataclass(frozen=True)
class Probe:
    """A small module that a term trains with the model. Checkpoints contain it; the exported model does not.

    ``make(layers, width)`` returns the module. It maps the hidden states that predict the tokens, ``(tokens, layers,
    width)`` in float32, to ``(tokens, outputs)``. ``reads``: "policy": its last layer, with gradients; "reference":
    every layer, without gradients.
    """

    make: Callable[[int, int], nn.Module]
    reads: Literal["policy", "reference"] = "policy"


@dataclass(frozen=True)
class TermInputs:
    """Everything that some terms read of a batch. A scorer computes it.

    ``statistics`` and ``probes`` are by name; a name is unique among all these terms.
    """

    views: tuple[View, ...]
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)
