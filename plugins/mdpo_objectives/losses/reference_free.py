"""Losses that need no reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores
from mdpo_objectives.formulas.numerics import bounded_expm1, log1mexp, log_sigmoid, mean_log_prob

if TYPE_CHECKING:
    from torch import Tensor


class SLiC(PairLoss):
    """Hinge on log-probs, plus the likelihood of the preferred response (SLiC-HF, arXiv:2305.10425).

        max(0, delta - lp_w + lp_l) - lam lp_w

    The paper's second term uses a response from supervised data; here it uses the preferred response. It is a sum.
    """

    needs_reference: ClassVar[bool] = False
    delta: ByRow = Field(default=1.0, description="target difference of the log-probs, in nats")
    lam: ByRow = Field(default=0.1, ge=0, description="factor of the negative log-likelihood")

    def __call__(self, scores: Scores) -> Tensor:
        preferred = scores.policy[self.prefer]
        return (self.delta - preferred + scores.policy[self.over]).relu() - self.lam * preferred


class SimPO(PairLoss):
    """The difference of mean log-probs should exceed a target margin (arXiv:2405.14734).

        -ls(beta (lp_w / |y_w| - lp_l / |y_l|) - gamma)

    The option of the authors' code is gamma / beta.
    """

    needs_reference: ClassVar[bool] = False
    beta: ByRow = Field(default=2.0, gt=0, description="reward per nat of mean log-prob")
    gamma: ByRow = Field(default=1.0, description="target difference of the rewards")

    def __call__(self, scores: Scores) -> Tensor:
        margin = mean_log_prob(scores, self.prefer) - mean_log_prob(scores, self.over)
        return -log_sigmoid(self.beta * margin - self.gamma)


class CPO(PairLoss):
    """Contrastive preference optimization: DPO without a reference, plus a likelihood (arXiv:2401.08417).

        -ls(beta (lp_w - lp_l)) - alpha lp_w / |y_w|

    The authors' code and TRL take the mean over all tokens of a batch; here each response has its own mean.
    """

    needs_reference: ClassVar[bool] = False
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat")
    alpha: ByRow = Field(default=1.0, ge=0, description="factor of the negative log-likelihood")

    def __call__(self, scores: Scores) -> Tensor:
        logit = self.beta * (scores.policy[self.prefer] - scores.policy[self.over])
        return -log_sigmoid(logit) - self.alpha * mean_log_prob(scores, self.prefer)


class ORPO(PairLoss):
    """Likelihood of the preferred response, plus the ratio of the two responses' odds (arXiv:2403.07691).

        -a_w - lam ls((a_w - log(1 - exp a_w)) - (a_l - log(1 - exp a_l)))        a = lp / |y|

    In the authors' code the likelihood includes the prompt by default; here it does not.
    """

    needs_reference: ClassVar[bool] = False
    lam: ByRow = Field(default=0.1, ge=0, description="factor of the odds ratio; TRL calls it beta")

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = mean_log_prob(scores, self.prefer), mean_log_prob(scores, self.over)
        log_odds = (preferred - log1mexp(preferred)) - (other - log1mexp(other))
        return -preferred - self.lam * log_sigmoid(log_odds)


class AlphaPO(PairLoss):
    """SimPO with a power of the mean probability as reward (arXiv:2501.03884).

        -ls(beta (R_w - R_l) - gamma)        R = (1 - p^-alpha) / alpha, p = exp(lp / |y|)

    With alpha 0 it is SimPO. Where powers would overflow, they continue as tangents.
    """

    needs_reference: ClassVar[bool] = False
    beta: ByRow = Field(default=2.5, gt=0, description="factor of the reward")
    gamma: ByRow = Field(default=0.25, description="target difference of the rewards")
    alpha: float = Field(default=0.25, description="shape of the reward; 0: the mean log-prob")

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = (self._reward(mean_log_prob(scores, view)) for view in self.views())
        return -log_sigmoid(self.beta * (preferred - other) - self.gamma)

    def _reward(self, log_prob: Tensor) -> Tensor:
        if self.alpha == 0:
            return log_prob
        return -bounded_expm1(-self.alpha * log_prob) / self.alpha


LOSSES: Mapping[str, type[Loss]] = {
    "slic": SLiC,
    "simpo": SimPO,
    "cpo": CPO,
    "orpo": ORPO,
    "alphapo": AlphaPO,
}
