"""Anchors that hold one view near an absolute level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mdpo_core import Anchor, ByRow, Scores
from mdpo_objectives.formulas.numerics import log_sigmoid, mean_log_prob

if TYPE_CHECKING:
    from torch import Tensor


class Reward(Anchor):
    """Keep the reward of one view above, or below, ``delta`` (mDPO, arXiv:2406.11839, eq. 5 and table 4).

        above: -ls(beta r - delta)        below: -ls(delta - beta r)

    The released code fixes ``delta`` at 0 and shares ``beta`` with the other terms.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    delta: ByRow = Field(default=0.0, description="reward at which the penalty is log 2")
    direction: Literal["above", "below"] = Field(default="above", description="the side of delta that costs less")

    def __call__(self, scores: Scores) -> Tensor:
        height = self.beta * scores.log_ratio(self.on) - self.delta
        return -log_sigmoid(height if self.direction == "above" else -height)


class SFT(Anchor):
    """Likelihood of one view's response: the supervised part of RPO, CPO and MPO (arXiv:2404.19733, 2411.10442).

        -lp / |y|

    MPO's code and TRL take the mean over all tokens of a batch; here each response has its own mean.
    """

    needs_reference: ClassVar[bool] = False
    length_normalize: bool = Field(default=True, description="mean over response tokens; false: their sum")

    def __call__(self, scores: Scores) -> Tensor:
        return -(mean_log_prob(scores, self.on) if self.length_normalize else scores.policy[self.on])


class Squared(Anchor):
    """Keep the reward of one view at ``delta``, from both sides (OPA-DPO's alternative, arXiv:2501.09695).

        (beta r - delta)^2

    The default of OPA-DPO's code is a log-sigmoid, which is ``reward``.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    delta: ByRow = Field(default=0.0, description="reward at which the penalty is 0")

    def __call__(self, scores: Scores) -> Tensor:
        return (self.beta * scores.log_ratio(self.on) - self.delta).square()


ANCHORS: Mapping[str, type[Anchor]] = {
    "reward": Reward,
    "sft": SFT,
    "squared": Squared,
}
