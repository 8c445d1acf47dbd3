"""Terms called as in a run: on the part of the scores that they declare, with statistics and running means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mdpo_core.probes import Probe
from mdpo_core.scores import ByView, Scored, Scores, Statistic, TokenLogProbs
from mdpo_core.terms import Term
from mdpo_core.testing.common import name_of
from mdpo_core.view import View

if TYPE_CHECKING:
    from torch import Tensor

# Shares in which the probability of all other tokens is split up, for statistics of whole distributions.
_OTHERS = (0.75, 0.25)


def values_of(term: Term, found: Scores) -> Tensor:
    """What a term gives in the first step of a run, ``(batch,)``."""
    return _reading(term, term, found)


def running_values(term: Term, found: Scores) -> dict[str, Tensor]:
    """What a term has running means taken of, ``(batch,)`` each."""
    return {name: _reading(term, value, found) for name, value in term.means.items()}


def gradients_of(term: Term, found: Scores) -> dict[View, Tensor]:
    """The gradients of the summed values by each view's policy tokens, those that there are."""
    import torch

    leaves = {view: tokens.values.clone().requires_grad_() for view, tokens in found.policy_tokens.items()}
    policy = {view: TokenLogProbs(leaves[view], tokens.mask) for view, tokens in found.policy_tokens.items()}
    values = values_of(
        term,
        Scores.from_tokens(Scored(policy, dict(found.reference_tokens)), found.applies, found.columns, found.responses),
    )
    if not values.requires_grad:
        return {}
    gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    return {view: gradient for view, gradient in zip(leaves, gradients, strict=True) if gradient is not None}


def _reading(term: Term, function: Callable[[Scores], Tensor], found: Scores) -> Tensor:
    seen = found.only(term.views(), term.columns(), reference=term.needs_reference, tokens=term.needs_tokens)
    statistics = {name: _statistic(each, found, term) for name, each in term.statistics().items()}
    probes = {name: _probed(each, found, term) for name, each in term.probes().items()}
    seen = replace(seen, statistics=statistics, probes=probes, running=dict.fromkeys(term.means, 0.0))
    try:
        return function(seen)
    except KeyError as error:
        raise AssertionError(f"{name_of(term)} reads what it does not declare: {error.args[0]}") from error


def _statistic(statistic: Statistic, found: Scores, term: Term) -> ByView[Tensor]:
    """Of distributions over three tokens, of which the first is the response's."""
    return ByView(
        {
            view: _by_token(statistic, found.policy_tokens[view], found.reference_tokens[view])
            for view in dict.fromkeys(term.views())
        }
    )


def _probed(probe: Probe, found: Scores, term: Term) -> ByView[Tensor]:
    """Of a model with one layer, whose hidden state is a token's log-probs under policy and reference."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = probe.make(1, 2).to(next(iter(found.policy.values())).dtype).requires_grad_(False)
    views = dict.fromkeys(term.views())
    sides = {view: (found.policy_tokens[view].values, found.reference_tokens[view].values) for view in views}
    states = {view: torch.stack(pair, dim=-1) for view, pair in sides.items()}
    return ByView(
        {view: module(each.flatten(0, 1)[:, None]).unflatten(0, each.shape[:2]) for view, each in states.items()}
    )


def _by_token(statistic: Statistic, policy: TokenLogProbs, reference: TokenLogProbs) -> Tensor:
    mask = policy.mask
    other = _distributions(reference.values[mask]).detach() if statistic.needs_reference else None
    found = statistic.function(_distributions(policy.values[mask]), other)
    return policy.values.new_zeros(mask.shape).masked_scatter(mask, found)


def _distributions(log_probs: Tensor) -> Tensor:
    """Log-probs ``(tokens, 3)``."""
    import torch

    rest = torch.log(-torch.expm1(log_probs))
    return torch.stack([log_probs, *(rest + math.log(share) for share in _OTHERS)], dim=1)
