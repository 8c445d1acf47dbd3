"""Losses that take the lengths of the responses into account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores
from mdpo_objectives.formulas.numerics import log_sigmoid, mean_log_ratio

if TYPE_CHECKING:
    from torch import Tensor


class DPONorm(PairLoss):
    """DPO with mean log-ratios (length-normalized DPO of Tulu 3, arXiv:2411.15124).

        -ls(beta (r_w / |y_w| - r_l / |y_l|))

    TRL calls it sigmoid_norm. It needs a larger beta than DPO with sums.
    """

    beta: ByRow = Field(default=5.0, gt=0, description="reward per nat of mean log-ratio")

    def __call__(self, scores: Scores) -> Tensor:
        return -log_sigmoid(self.beta * (mean_log_ratio(scores, self.prefer) - mean_log_ratio(scores, self.over)))


class LengthDPO(PairLoss):
    """DPO with a penalty on length (R-DPO, arXiv:2403.19159).

        -ls(beta D - alpha (|y_w| - |y_l|))

    The sign is reconstructed: a longer preferred response costs more, so that length alone gains nothing.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    alpha: ByRow = Field(default=0.02, ge=0, description="reward that each extra token costs")

    def __call__(self, scores: Scores) -> Tensor:
        margin = scores.margin(self.prefer, self.over)
        # Convert to the dtype of the margin: a float times integers is float32.
        extra_tokens = (scores.num_tokens[self.prefer] - scores.num_tokens[self.over]).to(margin.dtype)
        return -log_sigmoid(self.beta * margin - self.alpha * extra_tokens)


LOSSES: Mapping[str, type[Loss]] = {
    "dpo_norm": DPONorm,
    "length_dpo": LengthDPO,
}
