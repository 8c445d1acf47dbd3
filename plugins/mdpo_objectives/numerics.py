"""What the formulas share: stable logarithms, a bounded exponential, means over tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdpo_core import Scores, View

if TYPE_CHECKING:
    from torch import Tensor


def log_sigmoid(logit: Tensor) -> Tensor:
    """Exact where a plain ``sigmoid().log()`` is infinite."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(logit)


def bounded_exp(exponent: Tensor) -> Tensor:
    """The exponential, and its tangent beyond the cube root of the largest number: e^29 in float32, e^236 in float64.

    So the norm of gradients is finite as well, and larger exponents still give larger values.
    """
    import torch

    limit = math.log(torch.finfo(exponent.dtype).max) / 3
    bounded = exponent.clamp(max=limit)
    # One product: as a sum, gradients of e^limit would cancel, and take the small one with them.
    return bounded.exp() * (1 + exponent - bounded)


def log1mexp(log_prob: Tensor) -> Tensor:
    """``log(1 - exp(log_prob))``; a log-prob of 0 counts as the largest that is told apart from it."""
    import torch

    below = log_prob.clamp(max=-torch.finfo(log_prob.dtype).eps)
    # Each of the two forms loses all digits where the other is exact.
    near = below > -math.log(2)
    return torch.where(
        near,
        (-torch.expm1(below.where(near, -1.0))).log(),
        torch.log1p(-below.where(~near, -1.0).exp()),
    )


def mean_log_prob(scores: Scores, view: View) -> Tensor:
    """The policy's, over response tokens, ``(batch,)``."""
    return scores.policy[view] / scores.num_tokens[view]


def mean_log_ratio(scores: Scores, view: View) -> Tensor:
    """Over response tokens, ``(batch,)``."""
    return scores.log_ratio(view) / scores.num_tokens[view]
