"""Losses that depend only on the difference of two log-ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Scores, View
from mdpo_objectives.formulas.numerics import bounded_exp, log_sigmoid, mean_log_ratio
from mdpo_objectives.formulas.options import log, log1p, require_default

if TYPE_CHECKING:
    from torch import Tensor


class DPO(PairLoss):
    """Direct preference optimization (arXiv:2305.18290, eq. 7).

        -(1 - e) ls(beta D) - e ls(-beta D)        e: label_smoothing

    With two responses it is DPO. With one response under two images it is the conditional term of mDPO
    (arXiv:2406.11839, eq. 4). With ``label_smoothing`` it is conservative DPO, for noisy labels.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    label_smoothing: ByRow = Field(default=0.0, ge=0, lt=0.5, description="share of pairs whose label may be wrong")
    reference_free: bool = Field(default=False, description="assume equal log-probs under the reference")

    def __call__(self, scores: Scores) -> Tensor:
        if self.reference_free:
            margin = scores.policy[self.prefer] - scores.policy[self.over]
        else:
            margin = scores.margin(self.prefer, self.over)
        logit = self.beta * margin
        return -(1 - self.label_smoothing) * log_sigmoid(logit) - self.label_smoothing * log_sigmoid(-logit)


class RobustDPO(PairLoss):
    """DPO whose expected value under flipped labels equals DPO under true labels (rDPO, arXiv:2403.00409).

        (-(1 - e) ls(beta D) + e ls(-beta D)) / (1 - 2 e)        e: label_smoothing, the rate of flips

    It may be negative. For e > 0 it has no lower bound as D grows.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    label_smoothing: ByRow = Field(default=0.1, ge=0, lt=0.5, description="share of pairs whose label is wrong")

    def __call__(self, scores: Scores) -> Tensor:
        logit, flips = self.beta * scores.margin(self.prefer, self.over), self.label_smoothing
        return (flips * log_sigmoid(-logit) - (1 - flips) * log_sigmoid(logit)) / (1 - 2 * flips)


class IPO(PairLoss):
    """Identity preference optimization: move the margin to a target from both sides (arXiv:2310.12036, eq. 17).

        (r_w / |y_w| - r_l / |y_l| - 1 / (2 tau))^2

    The paper's formula has sums (``length_normalize: false``). Its authors told TRL that means are correct.
    """

    tau: ByRow = Field(default=0.1, gt=0, description="the target margin is 1 / (2 tau)")
    length_normalize: bool = Field(default=True, description="use mean log-ratios over tokens instead of sums")

    def __call__(self, scores: Scores) -> Tensor:
        if self.length_normalize:
            margin = mean_log_ratio(scores, self.prefer) - mean_log_ratio(scores, self.over)
        else:
            margin = scores.margin(self.prefer, self.over)
        return (margin - 1 / (2 * self.tau)).square()


class Hinge(PairLoss):
    """Hinge on the margin (RSO, arXiv:2309.06657, after SLiC).

        max(0, 1 - beta D)

    SLiC's own loss, with log-probs instead of log-ratios and with a second term, is ``slic``.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")

    def __call__(self, scores: Scores) -> Tensor:
        return (1 - self.beta * scores.margin(self.prefer, self.over)).relu()


class EXO(PairLoss):
    """Reverse divergence between the policy's preference and the smoothed label (EXO, arXiv:2402.00856).

        q (log q - log(1 - e)) + (1 - q) (log(1 - q) - log e)        q = s(beta D), e: label_smoothing

    The authors' code has e = exp(-10) and omits log(1 - e).
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    label_smoothing: ByRow = Field(default=0.001, gt=0, lt=0.5, description="share of pairs whose label may be wrong")

    def __call__(self, scores: Scores) -> Tensor:
        logit = self.beta * scores.margin(self.prefer, self.over)
        agrees = logit.sigmoid() * (log_sigmoid(logit) - log1p(-self.label_smoothing))
        return agrees + (-logit).sigmoid() * (log_sigmoid(-logit) - log(self.label_smoothing))


class DiscoPOP(PairLoss):
    """A mix of logistic and exponential loss that depends on the margin (log-ratio modulated, arXiv:2406.08414).

        (1 - w) (-ls(x)) + w exp(-x)        x = beta D, w = s(x / tau)

    The gradient includes the gradient of w. The authors set beta 0.05.
    """

    beta: ByRow = Field(default=0.05, gt=0, description="reward per nat of log-ratio")
    tau: float = Field(default=0.05, gt=0, le=1, description="width of the mix; above 1 the loss would have no bound")

    def __call__(self, scores: Scores) -> Tensor:
        logit = self.beta * scores.margin(self.prefer, self.over)
        # w exp(-x) in one exponent: exp(-x) overflows where w is 0.
        exponential = (log_sigmoid(logit / self.tau) - logit).exp()
        return -(-logit / self.tau).sigmoid() * log_sigmoid(logit) + exponential


class FDPO(PairLoss):
    """DPO with a divergence that may differ from the reverse KL (f-DPO, arXiv:2309.16240).

        -ls(beta (f'(r_w) - f'(r_l)))
        f'(r): r for reverse_kl; -exp(-r) for forward_kl; ls(r) for js; exp((alpha - 1) r) / (alpha - 1) for alpha

    With reverse_kl it is DPO. The log 2 of js cancels. Where exponentials would overflow, they continue as tangents.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per unit of f'")
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = Field(
        default="reverse_kl", description="divergence that keeps the policy near the reference"
    )
    alpha: float = Field(default=0.5, gt=0, lt=1, description="parameter of the divergence 'alpha'")

    @model_validator(mode="after")
    def _alpha_goes_with_its_divergence(self) -> Self:
        if self.divergence != "alpha":
            message = "alpha has an effect with 'divergence: alpha' only: set both, or leave alpha out"
            require_default(self, "alpha", message)
        return self

    def __call__(self, scores: Scores) -> Tensor:
        return -log_sigmoid(self.beta * (self._slope(scores, self.prefer) - self._slope(scores, self.over)))

    def _slope(self, scores: Scores, view: View) -> Tensor:
        """f' of the log-ratio of a view, ``(batch,)``."""
        log_ratio = scores.log_ratio(view)
        if self.divergence == "forward_kl":
            return -bounded_exp(-log_ratio)
        if self.divergence == "js":
            return log_sigmoid(log_ratio)
        if self.divergence == "alpha":
            return bounded_exp((self.alpha - 1) * log_ratio) / (self.alpha - 1)
        return log_ratio


LOSSES: Mapping[str, type[Loss]] = {
    "dpo": DPO,
    "robust_dpo": RobustDPO,
    "ipo": IPO,
    "hinge": Hinge,
    "exo": EXO,
    "discopop": DiscoPOP,
    "f_dpo": FDPO,
}
