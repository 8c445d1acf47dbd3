"""One way of scoring against another: log-probs, statistics and gradients."""

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
    """What a scorer gives for a batch, and the gradients of a sum of it, by parameter."""

    scored: ScorerOutput
    gradients: Mapping[str, Tensor]


def measure(scorer: Scorer, batch: Batch) -> Measured:
    """Score, and differentiate a sum in which every token of every view has a factor of its own, of either sign."""
    scored: ScorerOutput = scorer(batch)
    trained = {name: value for name, value in scorer.named_parameters() if value.requires_grad}
    total = torch.zeros((), dtype=torch.float64)
    for number, (_, values) in enumerate(_policy(scored)):
        factors = torch.arange(values.numel(), dtype=torch.float64).add(number).mul(1.3).cos().view(values.shape)
        total = total + (values.cpu() * factors).sum()
    if not total.requires_grad:
        return Measured(scored, {})
    found = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    return Measured(scored, {name: grad for name, grad in zip(trained, found, strict=True) if grad is not None})


def require_parity(name: str, found: Measured, expected: Measured, nats: float, share: float) -> None:
    """Raise `AssertionError` where values differ by more than ``nats`` or a gradient by a ``share`` of the largest."""
    pairs = zip(_policy(found.scored), _policy(expected.scored), strict=True)
    references = zip(_reference(found.scored), _reference(expected.scored), strict=True)
    for (what, values), (other, wanted) in (*pairs, *references):
        require(
            what == other and values.shape == wanted.shape, f"{name}: {what} {values.shape}, {other} {wanted.shape}"
        )
        gap = float((values - wanted).detach().abs().max())
        require(gap <= nats, f"{name}: {what} differs by {gap:.2g} nats")
    require(found.gradients.keys() == expected.gradients.keys(), f"{name}: gradients reach other parameters")
    largest = max((float(value.abs().max()) for value in expected.gradients.values()), default=0.0)
    for parameter, gradient in expected.gradients.items():
        gap = float((found.gradients[parameter] - gradient).abs().max())
        require(
            gap <= share * largest,
            f"{name}: the gradient of {parameter} differs by {gap:.2g}, where the largest is {largest:.2g}",
        )


def _policy(scored: ScorerOutput) -> Iterator[tuple[str, Tensor]]:
    for view, tokens in scored.policy.items():
        yield f"the policy's '{view}'", tokens.values
    for statistic, by_view in scored.statistics.items():
        for view, values in by_view.items():
            yield f"{statistic} of '{view}'", values


def _reference(scored: ScorerOutput) -> Iterator[tuple[str, Tensor]]:
    for view, tokens in scored.reference.items():
        yield f"the reference's '{view}'", tokens.values
