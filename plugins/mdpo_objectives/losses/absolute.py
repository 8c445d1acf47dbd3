"""Losses of two views that depend on each reward, not only on their difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class NCA(PairLoss):
    """Noise contrastive alignment of a pair (arXiv:2402.05369).

        -ls(beta r_w) - 0.5 ls(-beta r_w) - 0.5 ls(-beta r_l)

    The authors set beta 0.01. Their form for K responses with rewards is not implemented.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = self.beta * scores.log_ratio(self.prefer), self.beta * scores.log_ratio(self.over)
        return -log_sigmoid(preferred) - 0.5 * (log_sigmoid(-preferred) + log_sigmoid(-other))


class APO(PairLoss):
    """Anchored preference optimization, in probabilities (arXiv:2408.06266).

        zero: 1 - s(beta r_w) + s(beta r_l)        down: s(beta r_w) + s(-beta D)

    ``zero`` raises the preferred response. ``down`` lowers both responses, for a policy that is better than its data.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    variant: Literal["zero", "down"] = Field(default="zero", description="zero: raise the preferred; down: lower both")

    def __call__(self, scores: Scores) -> Tensor:
        preferred = self.beta * scores.log_ratio(self.prefer)
        if self.variant == "down":
            return preferred.sigmoid() + (-self.beta * scores.margin(self.prefer, self.over)).sigmoid()
        return (-preferred).sigmoid() + (self.beta * scores.log_ratio(self.over)).sigmoid()


class DPOP(PairLoss):
    """DPO with a penalty if the preferred response falls below the reference (Smaug, arXiv:2402.13228).

        -ls(beta (D - lam max(0, -r_w)))

    It is similar to mDPO's reward anchor, but softer. The paper tries lam from 5 to 50.
    """

    beta: ByRow = Field(default=0.3, gt=0, description="reward per nat of log-ratio")
    lam: ByRow = Field(default=5.0, ge=0, description="penalty, in nats of margin per nat below the reference")

    def __call__(self, scores: Scores) -> Tensor:
        shortfall = (-scores.log_ratio(self.prefer)).relu()
        return -log_sigmoid(self.beta * (scores.margin(self.prefer, self.over) - self.lam * shortfall))


LOSSES: Mapping[str, type[Loss]] = {
    "nca": NCA,
    "apo": APO,
    "dpop": DPOP,
}
