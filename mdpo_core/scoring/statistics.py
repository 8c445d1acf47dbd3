"""Statistics of whole distributions, a few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mdpo_core.interfaces.measurements import Statistic
from mdpo_core.interfaces.model import Head
from mdpo_core.interfaces.plugin_calls import call_plugin, require_tensor
from mdpo_core.scoring.head import chunk_size, distributions

ReferenceLogits = Callable[[slice], Tensor]


def token_statistics(
    statistics: Mapping[str, Statistic],
    head: Head,
    hidden_states: Tensor,
    reference_logits: ReferenceLogits | None,
    max_logits: int | None,
) -> Tensor:
    """Each statistic of the distributions that ``hidden_states (tokens, hidden)`` predict, ``(statistics, tokens)``.

    ``reference_logits(span)`` gives those of the reference for the same tokens, ``(tokens, vocab)``. Logits are
    computed again in backward; beside them, a chunk holds what the statistics make of them.
    """
    size = chunk_size(head, hidden_states, max_logits)

    def compute(states: Tensor, first: int) -> Tensor:
        policy = distributions(head(states))
        span = slice(first, first + len(states))
        reference = None if reference_logits is None else distributions(reference_logits(span))
        return torch.stack([computed(name, each, policy, reference) for name, each in statistics.items()])

    chunks = [
        checkpoint(compute, states, place * size, use_reentrant=False)
        for place, states in enumerate(torch.split(hidden_states, size))
    ]
    return torch.cat(chunks, dim=1)


def computed(name: str, statistic: Statistic, policy: Tensor, reference: Tensor | None) -> Tensor:
    """A statistic of log-probs ``(tokens, vocab)``: ``(tokens,)``. Raises `PluginError` if it gives anything else."""
    who = f"the statistic '{name}'"
    values = call_plugin(who, lambda: statistic.function(policy, reference if statistic.needs_reference else None))
    return require_tensor(who, values, "one number a token", policy.shape[:1])
