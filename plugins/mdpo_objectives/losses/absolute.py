"""Losses of two views that also care how high each reward is by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_core import Loss, PairLoss, Scores
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class NCA(PairLoss):
    """Noise contrastive alignment of a pair (arXiv:2402.05369).

        -ls(beta r_w) - 0.5 ls(-beta r_w) - 0.5 ls(-beta r_l)

    The authors set beta 0.01. Their form for K responses with rewards is not covered.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = self.beta * scores.log_ratio(self.prefer), self.beta * scores.log_ratio(self.over)
        return -log_sigmoid(preferred) - 0.5 * (log_sigmoid(-preferred) + log_sigmoid(-other))


class APO(PairLoss):
    """Anchored preference optimization, in probabilities (arXiv:2408.06266).

        zero: 1 - s(beta r_w) + s(beta r_l)        down: s(beta r_w) + s(-beta D)

    ``zero`` raises the preferred response, ``down`` lowers both: for a policy that is better than its data.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    variant: Literal["zero", "down"] = Field(default="zero", description="where the preferred reward is to go")

    def __call__(self, scores: Scores) -> Tensor:
        preferred = self.beta * scores.log_ratio(self.prefer)
        if self.variant == "down":
            return preferred.sigmoid() + (-self.beta * scores.margin(self.prefer, self.over)).sigmoid()
        return (-preferred).sigmoid() + (self.beta * scores.log_ratio(self.over)).sigmoid()


class DPOP(PairLoss):
    """DPO that punishes a preferred response which falls below the reference (Smaug, arXiv:2402.13228).

        -ls(beta (D - lam max(0, -r_w)))

    A softer relative of mDPO's reward anchor. The paper tries lam from 5 to 50.
    """

    beta: float = Field(default=0.3, gt=0, description="reward per nat of log-ratio")
    lam: float = Field(default=5.0, ge=0, description="nats of margin that a nat below the reference costs")

    def __call__(self, scores: Scores) -> Tensor:
        fallen = (-scores.log_ratio(self.prefer)).relu()
        return -log_sigmoid(self.beta * (scores.margin(self.prefer, self.over) - self.lam * fallen))


LOSSES: Mapping[str, type[Loss]] = {
    "nca": NCA,
    "apo": APO,
    "dpop": DPOP,
}
