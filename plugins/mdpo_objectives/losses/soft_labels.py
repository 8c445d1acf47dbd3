"""Losses with a data column that says how much better the preferred response is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores
from mdpo_objectives.formulas.columns import label, number, probability, require
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class ODPO(PairLoss):
    """DPO with an offset: the margin should exceed a function of two scores' difference (arXiv:2402.10571).

        -ls(beta D - alpha f(R_w - R_l))        f: the option offset, log or the identity (linear); R: columns of scores

    With ``log``, a difference below 1 gives a negative offset. A difference of 0 is an error, because it is no
    preference; with ``log``, a negative difference is an error, too. With ``linear`` and the mean scores of an ensemble
    it is the adaptive margin of arXiv:2401.06080.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    alpha: ByRow = Field(default=1.0, ge=0, description="factor of the offset")
    offset: Literal["log", "linear"] = Field(default="log", description="the offset as a function of the difference")

    def columns(self) -> tuple[str, ...]:
        return ("chosen_score", "rejected_score")

    def check_columns(self, scores: Scores) -> None:
        self._offset(scores)

    def __call__(self, scores: Scores) -> Tensor:
        logit = self.beta * scores.margin(self.prefer, self.over)
        return -log_sigmoid(logit - self.alpha * self._offset(scores))

    def _offset(self, scores: Scores) -> Tensor:
        columns = {name: number(scores, name) for name in self.columns()}
        difference = columns["chosen_score"] - columns["rejected_score"]
        require(scores, difference != 0, "odpo needs scores that differ, found", columns)
        if self.offset == "linear":
            return difference
        require(
            scores,
            difference > 0,
            "odpo with 'offset: log' needs a chosen_score above the rejected_score, found",
            columns,
        )
        return difference.log()


class SoftDPO(PairLoss):
    """DPO with soft labels: the data contains the probability of the preference (OSP, arXiv:2405.14103).

        -p ls(beta D) - (1 - p) ls(-beta D)        p: column preference_probability

    Reconstructed from the paper's abstract, without its sampling of pairs. If p is 1 - e for all pairs, it is ``dpo``
    with label_smoothing e.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")

    def columns(self) -> tuple[str, ...]:
        return ("preference_probability",)

    def check_columns(self, scores: Scores) -> None:
        probability(scores, "preference_probability")

    def __call__(self, scores: Scores) -> Tensor:
        preferred = probability(scores, "preference_probability")
        logit = self.beta * scores.margin(self.prefer, self.over)
        return -preferred * log_sigmoid(logit) - (1 - preferred) * log_sigmoid(-logit)


class SPA(PairLoss):
    """DPO with label smoothing of the least confident pairs (self-refinement of SPA, arXiv:2406.04412).

        -(1 - alpha z) ls(beta D) - alpha z ls(-beta D)        z: column low_confidence, 0 or 1

    The authors compute z during training: a pair has low confidence if its margin under mixed logits is below a running
    quantile. They begin with alpha 0. Here z is a column of the data.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    alpha: ByRow = Field(default=0.1, ge=0, le=1, description="label smoothing of pairs with low confidence")

    def columns(self) -> tuple[str, ...]:
        return ("low_confidence",)

    def check_columns(self, scores: Scores) -> None:
        label(scores, "low_confidence")

    def __call__(self, scores: Scores) -> Tensor:
        logit = self.beta * scores.margin(self.prefer, self.over)
        smoothing = self.alpha * label(scores, "low_confidence").to(logit.dtype)
        return -(1 - smoothing) * log_sigmoid(logit) - smoothing * log_sigmoid(-logit)


class SPPO(PairLoss):
    """Move each response's log-ratio to a target from its probability to win (self-play, arXiv:2405.00675).

        0.5 ((r_w - (P_w - 0.5) / beta)^2 + (r_l - (P_l - 0.5) / beta)^2)
        P: columns chosen_probability and rejected_probability

    ``hard`` sets P_w to 1 and P_l to 0, and omits the factor 0.5, as in TRL.
    """

    beta: ByRow = Field(default=0.001, gt=0, description="1 / beta is the paper's eta")
    hard: bool = Field(default=False, description="the chosen response always wins; needs no columns")

    def columns(self) -> tuple[str, ...]:
        return () if self.hard else ("chosen_probability", "rejected_probability")

    def check_columns(self, scores: Scores) -> None:
        for name in self.columns():
            probability(scores, name)

    def __call__(self, scores: Scores) -> Tensor:
        if self.hard:
            return self._errors(scores, 1.0, 0.0)
        chosen, rejected = (probability(scores, name) for name in self.columns())
        return 0.5 * self._errors(scores, chosen, rejected)

    def _errors(self, scores: Scores, chosen: Tensor | float, rejected: Tensor | float) -> Tensor:
        above = scores.log_ratio(self.prefer) - (chosen - 0.5) / self.beta
        below = scores.log_ratio(self.over) - (rejected - 0.5) / self.beta
        return above.square() + below.square()


class GPO(PairLoss):
    """Move each response's log-ratio to a target from a general preference model's score (arXiv:2410.02197).

        0.5 ((r_w - S_w / beta)^2 + (r_l - S_l / beta)^2)        S: columns chosen_score and rejected_score

    The model scores each response against the policy's own answers. log Z is omitted, as in the paper.
    """

    beta: ByRow = Field(default=0.001, gt=0, description="score per nat of log-ratio")

    def columns(self) -> tuple[str, ...]:
        return ("chosen_score", "rejected_score")

    def check_columns(self, scores: Scores) -> None:
        for name in self.columns():
            number(scores, name)

    def __call__(self, scores: Scores) -> Tensor:
        above = scores.log_ratio(self.prefer) - number(scores, "chosen_score") / self.beta
        below = scores.log_ratio(self.over) - number(scores, "rejected_score") / self.beta
        return 0.5 * (above.square() + below.square())


LOSSES: Mapping[str, type[Loss]] = {
    "odpo": ODPO,
    "soft_dpo": SoftDPO,
    "spa": SPA,
    "sppo": SPPO,
    "gpo": GPO,
}
