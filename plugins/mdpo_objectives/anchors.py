"""Anchors that hold one view near an absolute level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_core import Anchor, Scores

if TYPE_CHECKING:
    from torch import Tensor


class Reward(Anchor):
    """Keep the reward of one view above, or below, ``delta`` (mDPO, arXiv:2406.11839, eq. 5 and table 4).

    The released code fixes ``delta`` at 0 and shares ``beta`` with the other terms.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    delta: float = Field(default=0.0, description="reward at which the penalty is log 2")
    direction: Literal["above", "below"] = Field(default="above", description="the side of delta that costs less")

    def __call__(self, scores: Scores) -> Tensor:
        from torch.nn.functional import logsigmoid

        height = self.beta * scores.log_ratio(self.on) - self.delta
        return -logsigmoid(height if self.direction == "above" else -height)
