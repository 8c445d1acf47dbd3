"""Computes statistics of whole distributions, a few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mdpo_core.interfaces.measurements import Statistic
from mdpo_core.interfaces.model import Head
from mdpo_core.interfaces.plugin_results import call_plugin, require_tensor
from mdpo_core.scoring.head import chunk_size, distributions

ReferenceLogits = Callable[[slice], Tensor]


def token_statistics(
    statistics: Mapping[str, Statistic],
    head: Head,
    hidden_states: Tensor,
    reference_logits: ReferenceLogits | None,
    max_logits: int | None,
) -> Tensor:
    """Every statistic ``(statistics, tokens)`` of the distributions that ``hidden_states (tokens, hidden)`` predict.

    ``reference_logits(span)`` gives the reference's logits of the same tokens, ``(tokens, vocab)``. Backward computes
    the logits again. A chunk also holds what the statistics compute from its logits.
    """
    size = chunk_size(head, hidden_states, max_logits)

    def compute(states: Tensor, first: int) -> Tensor:
        policy = distributions(head(states))
        span = slice(first, first + len(states))
        reference = None if reference_logits is None else distributions(reference_logits(span))
        return torch.stack([computed(name, each, policy, reference) for name, each in statistics.items()])

    chunks = [
        checkpoint(compute, states, index * size, use_reentrant=False)
        for index, states in enumerate(torch.split(hidden_states, size))
    ]
    return torch.cat(chunks, dim=1)


def computed(name: str, statistic: Statistic, policy: Tensor, reference: Tensor | None) -> Tensor:
    """A statistic ``(tokens,)`` of log-probs ``(tokens, vocab)``. Raises `PluginError` for any other result."""
    source = f"the statistic '{name}'"
    values = call_plugin(source, lambda: statistic.function(policy, reference if statistic.needs_reference else None))
    return require_tensor(source, values, "one number a token", policy.shape[:1])
