"""Functions that formulas share: stable logarithms, a bounded exponential, means over tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdpo_core import Scores, View

if TYPE_CHECKING:
    from torch import Tensor


def log_sigmoid(logit: Tensor) -> Tensor:
    """``log(sigmoid(logit))``, also where ``logit.sigmoid().log()`` would be infinite."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(logit)


def bounded_exp(exponent: Tensor) -> Tensor:
    """The exponential, and its tangent beyond the cube root of the largest number: e^29 in float32, e^236 in float64.

    So the norm of gradients is finite as well, and larger exponents still give larger values.
    """
    bounded = _bounded(exponent)
    # One product: as a sum, gradients of e^limit would cancel, and take the small one with them.
    return bounded.exp() * (1 + exponent - bounded)


def bounded_expm1(exponent: Tensor) -> Tensor:
    """`bounded_exp` minus 1, exact near 0."""
    bounded = _bounded(exponent)
    return bounded.expm1() + bounded.exp() * (exponent - bounded)


def _bounded(exponent: Tensor) -> Tensor:
    import torch

    return exponent.clamp(max=math.log(torch.finfo(exponent.dtype).max) / 3)


def log1mexp(log_prob: Tensor) -> Tensor:
    """``log(1 - exp(log_prob))``; a log-prob of 0 counts as the largest that is told apart from it."""
    import torch

    below = log_prob.clamp(max=-torch.finfo(log_prob.dtype).eps)
    # Each of the two forms loses all digits where the other is exact; both have finite gradients everywhere.
    return torch.where(below > -math.log(2), (-torch.expm1(below)).log(), torch.log1p(-below.exp()))


def kl_divergence(log_probs: Tensor, other: Tensor) -> Tensor:
    """KL(p || q) over the last dimension, from log-probs of both; entries with probability 0 under p add nothing."""
    apart = (log_probs - other).where(log_probs > -math.inf, 0)
    return (log_probs.exp() * apart).sum(dim=-1)


def mean_log_prob(scores: Scores, view: View) -> Tensor:
    """The policy's mean log-prob of a response token, ``(batch,)``."""
    return scores.policy[view] / scores.num_tokens[view]


def mean_log_ratio(scores: Scores, view: View) -> Tensor:
    """The mean log-ratio of a response token, ``(batch,)``."""
    return scores.log_ratio(view) / scores.num_tokens[view]
