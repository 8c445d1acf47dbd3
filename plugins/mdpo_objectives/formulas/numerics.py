"""Functions that formulas share: stable logarithms, a bounded exponential, means over tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdpo_core import Scores, View

if TYPE_CHECKING:
    from torch import Tensor


def log_sigmoid(logit: Tensor) -> Tensor:
    """``log(sigmoid(logit))``, finite even where ``logit.sigmoid().log()`` would be infinite."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(logit)


def bounded_exp(exponent: Tensor) -> Tensor:
    """The exponential; above the cube root of the largest number (e^29 in float32, e^236 in float64) its tangent.

    So gradients and their norm stay finite, and larger exponents still give larger values.
    """
    bounded = _bounded(exponent)
    # One product, because in a sum two large gradients would cancel, and the small one would be lost in rounding.
    return bounded.exp() * (1 + exponent - bounded)


def bounded_expm1(exponent: Tensor) -> Tensor:
    """`bounded_exp` minus 1, exact near 0."""
    bounded = _bounded(exponent)
    return bounded.expm1() + bounded.exp() * (exponent - bounded)


def _bounded(exponent: Tensor) -> Tensor:
    import torch

    return exponent.clamp(max=math.log(torch.finfo(exponent.dtype).max) / 3)


def log1mexp(log_prob: Tensor) -> Tensor:
    """``log(1 - exp(log_prob))``; log-probs are clamped to at most ``-eps``, where the result is finite."""
    import torch

    negative = log_prob.clamp(max=-torch.finfo(log_prob.dtype).eps)
    # Each of the two forms loses all digits where the other is exact; both have finite gradients everywhere.
    return torch.where(negative > -math.log(2), (-torch.expm1(negative)).log(), torch.log1p(-negative.exp()))


def kl_divergence(log_probs: Tensor, other: Tensor) -> Tensor:
    """KL(p || q) over the last dimension, from the log-probs of p and q; entries with probability 0 under p add 0."""
    log_ratios = (log_probs - other).where(log_probs > -math.inf, 0)
    return (log_probs.exp() * log_ratios).sum(dim=-1)


def mean_log_prob(scores: Scores, view: View) -> Tensor:
    """The policy's mean log-prob over the tokens of a response, ``(batch,)``."""
    return scores.policy[view] / scores.num_tokens[view]


def mean_log_ratio(scores: Scores, view: View) -> Tensor:
    """The mean log-ratio over the tokens of a response, ``(batch,)``."""
    return scores.log_ratio(view) / scores.num_tokens[view]
