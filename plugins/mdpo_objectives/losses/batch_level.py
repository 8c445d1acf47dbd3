"""Losses that compare each pair with other pairs: of its micro-batch, or of all steps so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores, View
from mdpo_objectives.formulas.columns import label
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class AOT(PairLoss):
    """Alignment of distributions: the n-th highest margin should exceed the reference's (arXiv:2406.05882).

        -(1 - e) ls(beta (a_n - b_n)) - e ls(-beta (a_n - b_n))        e: label_smoothing
        a, b: the margins of policy and reference, or unpaired r_w and r_l, sorted

    Margins are sorted within a micro-batch of one process, as in TRL. So the loss depends on which pairs are in the
    micro-batch, but not on their order. The value of a pair is the one with its own a.
    """

    compares_pairs: ClassVar[bool] = True
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat")
    label_smoothing: ByRow = Field(default=0.0, ge=0, lt=0.5, description="share of pairs whose label may be wrong")
    paired: bool = Field(default=True, description="compare margins; false: compare all r_w with all r_l")

    def __call__(self, scores: Scores) -> Tensor:
        if self.paired:
            high, low = (side[self.prefer] - side[self.over] for side in (scores.policy, scores.reference))
        else:
            high, low = scores.log_ratio(self.prefer), scores.log_ratio(self.over)
        # A corrupted view leaves out rows without an image.
        logit = self.beta * _lead_by_rank(high, low, scores.counted(self.views()))
        return -(1 - self.label_smoothing) * log_sigmoid(logit) - self.label_smoothing * log_sigmoid(-logit)


def _lead_by_rank(high: Tensor, low: Tensor, counted: Tensor) -> Tensor:
    """Each row's ``high`` minus the ``low`` of equal rank, ``(batch,)``; 0 for rows that are not counted."""
    rows = counted.nonzero()[:, 0]
    rows = rows[high[rows].argsort()]
    return high.new_zeros(high.shape).index_put((rows,), high[rows] - low[counted].sort().values)


class BCO(PairLoss):
    """Binary classification of responses by their reward, with the mean reward as threshold (arXiv:2404.04656).

        -ls(beta r_w - d) - ls(-(beta r_l - d))        d: mean of all earlier rewards

    The running mean is over all finished steps and all processes; it is 0 in the first step. The authors and TRL update
    it in each micro-batch, before its use. Their weights for rejected rows of other prompts are not implemented.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    shift: Literal["running"] | ByRow = Field(default="running", description="d: the running mean, or a number")

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"reward": self._mean_reward} if self.shift == "running" else {}

    def _mean_reward(self, scores: Scores) -> Tensor:
        return self.beta * (scores.log_ratio(self.prefer) + scores.log_ratio(self.over)) / 2

    def __call__(self, scores: Scores) -> Tensor:
        shift = scores.running["reward"] if self.shift == "running" else self.shift
        above = self.beta * scores.log_ratio(self.prefer) - shift
        return -log_sigmoid(above) - log_sigmoid(shift - self.beta * scores.log_ratio(self.over))


class BCOUnpaired(Loss):
    """BCO for single responses with labels (arXiv:2404.04656).

        -ls(beta r - d) where the column label is 1, -ls(d - beta r) where it is 0        d: mean of all earlier rewards

    The running mean is computed as in ``bco``.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    shift: Literal["running"] | ByRow = Field(default="running", description="d: the running mean, or a number")
    on: View = Field(default=View("chosen"), description="the view that the label is about")

    def views(self) -> tuple[View, ...]:
        return (self.on,)

    def columns(self) -> tuple[str, ...]:
        return ("label",)

    def check_columns(self, scores: Scores) -> None:
        label(scores, "label")

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"reward": self._reward} if self.shift == "running" else {}

    def _reward(self, scores: Scores) -> Tensor:
        return self.beta * scores.log_ratio(self.on)

    def __call__(self, scores: Scores) -> Tensor:
        shift = scores.running["reward"] if self.shift == "running" else self.shift
        height = self._reward(scores) - shift
        return -log_sigmoid(height.where(label(scores, "label"), -height))


class KTO(Loss):
    """Prospect theory: single responses, good or bad, compared with a baseline (arXiv:2402.01306).

        desirable (1 - s(beta (r - z))) where the column label is 1, undesirable (1 - s(beta (z - r))) where it is 0
        z: max(0, mean of r over responses under another row's prompt), detached

    The mean is over the last finished step in all processes; it is 0 in the first step. The authors and TRL use the
    mean of the micro-batch itself. The responses under another row's prompt are a view, from the corruption
    ``mismatched``. Rows without an image count, unless another term of the recipe has a condition that needs an image.
    The authors keep desirable * (number of 1s) between 1 and 4/3 times undesirable * (number of 0s).
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    desirable: ByRow = Field(default=1.0, ge=0, description="weight of responses with label 1")
    undesirable: ByRow = Field(default=1.0, ge=0, description="weight of responses with label 0")
    on: View = Field(default=View("chosen"), description="the view that the label is about")
    mismatched: View = Field(
        default=View("chosen", "mismatched"), description="the same response under another row's prompt"
    )
    baseline: Literal["last_step"] | ByRow = Field(
        default="last_step", description="z: the last step's mean, or a number"
    )

    def views(self) -> tuple[View, ...]:
        return (self.on, self.mismatched) if self.baseline == "last_step" else (self.on,)

    def columns(self) -> tuple[str, ...]:
        return ("label",)

    def check_columns(self, scores: Scores) -> None:
        label(scores, "label")

    def step_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"mismatched": self._mismatched} if self.baseline == "last_step" else {}

    def _mismatched(self, scores: Scores) -> Tensor:
        return scores.log_ratio(self.mismatched)

    def __call__(self, scores: Scores) -> Tensor:
        baseline = max(0.0, scores.running["mismatched"]) if self.baseline == "last_step" else self.baseline
        reward, is_good = self.beta * (scores.log_ratio(self.on) - baseline), label(scores, "label")
        loss_if_bad = self.undesirable * reward.sigmoid()
        return (self.desirable * (-reward).sigmoid()).where(is_good, loss_if_bad)


LOSSES: Mapping[str, type[Loss]] = {
    "aot": AOT,
    "bco": BCO,
    "bco_unpaired": BCOUnpaired,
    "kto": KTO,
}
