"""Compares two ways of scoring: log-probs, statistics and gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mdpo_core.scoring.scorer import Scorer
from mdpo_core.testing.sentences import require
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import ScorerOutput


class Measured(NamedTuple):
    """A scorer's output for a batch, and the gradients of a weighted sum of it, by parameter."""

    scored: ScorerOutput
    gradients: Mapping[str, Tensor]


def measure(scorer: Scorer, batch: Batch) -> Measured:
    """Score a batch, and differentiate a sum in which each token has its own factor, positive or negative."""
    scored: ScorerOutput = scorer(batch)
    trained = {name: value for name, value in scorer.named_parameters() if value.requires_grad}
    total = torch.zeros((), dtype=torch.float64)
    for offset, (_, values) in enumerate(_policy(scored)):
        factors = torch.arange(values.numel(), dtype=torch.float64).add(offset).mul(1.3).cos().view(values.shape)
        total = total + (values.cpu() * factors).sum()
    if not total.requires_grad:
        return Measured(scored, {})
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    return Measured(scored, {name: grad for name, grad in zip(trained, gradients, strict=True) if grad is not None})


def require_parity(name: str, measured: Measured, expected: Measured, nats: float, share: float) -> None:
    """Raise `AssertionError` unless two measurements agree.

    Values may differ by ``nats``, and gradients by this ``share`` of the largest gradient.
    """
    pairs = zip(_policy(measured.scored), _policy(expected.scored), strict=True)
    references = zip(_reference(measured.scored), _reference(expected.scored), strict=True)
    for (label, values), (wanted_label, wanted) in (*pairs, *references):
        require(
            label == wanted_label and values.shape == wanted.shape,
            f"{name}: {label} {tuple(values.shape)}, but expected {wanted_label} {tuple(wanted.shape)}",
        )
        gap = float((values - wanted).detach().abs().max())
        require(gap <= nats, f"{name}: {label} differ by {gap:.2g} nats")
    require(measured.gradients.keys() == expected.gradients.keys(), f"{name}: gradients reach other parameters")
    largest = max((float(value.abs().max()) for value in expected.gradients.values()), default=0.0)
    for parameter, gradient in expected.gradients.items():
        gap = float((measured.gradients[parameter] - gradient).abs().max())
        require(
            gap <= share * largest,
            f"{name}: the gradient of {parameter} differs by {gap:.2g}; the largest gradient is {largest:.2g}",
        )


def _policy(scored: ScorerOutput) -> Iterator[tuple[str, Tensor]]:
    for view, tokens in scored.policy.items():
        yield f"the policy's log-probs of '{view}'", tokens.values
    for statistic, by_view in scored.statistics.items():
        for view, values in by_view.items():
            yield f"the values of {statistic} for '{view}'", values


def _reference(scored: ScorerOutput) -> Iterator[tuple[str, Tensor]]:
    for view, tokens in scored.reference.items():
        yield f"the reference's log-probs of '{view}'", tokens.values
