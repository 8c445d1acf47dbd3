"""Losses that compare two views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import PairLoss, Scores

if TYPE_CHECKING:
    from torch import Tensor


class DPO(PairLoss):
    """Direct preference optimization (arXiv:2305.18290, eq. 7).

    Over two responses it is DPO; over one response with and without its image it is the conditional term of mDPO
    (arXiv:2406.11839, eq. 4). With ``label_smoothing`` it is the conservative form for noisy labels.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="share of pairs whose label may be wrong")
    reference_free: bool = Field(default=False, description="take the reference as indifferent to all responses")

    def __call__(self, scores: Scores) -> Tensor:
        from torch.nn.functional import logsigmoid

        if self.reference_free:
            margin = scores.policy[self.prefer] - scores.policy[self.over]
        else:
            margin = scores.margin(self.prefer, self.over)
        logit = self.beta * margin
        return -(1 - self.label_smoothing) * logsigmoid(logit) - self.label_smoothing * logsigmoid(-logit)
