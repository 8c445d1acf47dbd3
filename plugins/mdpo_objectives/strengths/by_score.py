"""Strengths that depend on how much better a reward model finds the chosen answer of a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import Pairs, Strength
from mdpo_objectives.formulas.columns import number
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class _OfScores(Strength):
    """A strength that reads the scores of both answers from columns of the data."""

    def columns(self) -> tuple[str, ...]:
        return ("chosen_score", "rejected_score")

    def check_columns(self, pairs: Pairs) -> None:
        self.lead(pairs)

    def lead(self, pairs: Pairs) -> Tensor:
        """How much higher the chosen answer's score is, ``(batch,)``."""
        return number(pairs, "chosen_score") - number(pairs, "rejected_score")


class MMRLHF(_OfScores):
    """A beta that grows with the lead of the chosen answer's score (MM-DPO of MM-RLHF, arXiv:2502.10391, eq. 5).

        beta (1 + w (1 - exp(-k (R_w - R_l)))), within beta .. (1 + w) beta
        R: columns chosen_score and rejected_score

    The scores are those of a reward model. Formula, beta, w and k are those that notes on the paper quote; the paper
    itself was not at hand. The released code reads a factor of each pair from the data, which we take to be
    1 - exp(-k (R_w - R_l)), and by default does something else: it takes a beta of the batch.
    """

    beta: float = Field(default=0.1, gt=0, description="beta of pairs whose chosen answer has no lead")
    w: float = Field(default=0.5, ge=0, description="share by which beta grows at most")
    k: float = Field(default=0.5, gt=0, description="how fast it grows with the lead")

    def __call__(self, pairs: Pairs) -> Tensor:
        # Where the lead is negative, the bound says beta, and the exponential could overflow.
        growth = -(-self.k * self.lead(pairs).clamp(min=0)).expm1()
        return self.beta * (1 + self.w * growth)


class MADPO(_OfScores):
    """A weight for pairs by the lead of the chosen answer's score (margin-adaptive DPO, arXiv:2510.05342).

        s(c h) / s(h) where h > -tau, else 1        h = R_w - R_l: columns chosen_score and rejected_score
        c = least + (most - least) / (1 + (most - 1) / (1 - least) exp(steepness (|h| - tau)))

    It is the weight of a DPO loss. Formula and values are those of the authors' notebook, where least is c_min, most
    c_max and steepness lambda; the paper's own text was not at hand. The scores are those of a reward model that is
    trained on the same pairs.
    """

    tau: float = Field(default=math.log(999), gt=0, description="lead at which the factor of the margin is 1")
    most: float = Field(default=2.0, gt=1, description="factor of the margin where the lead is smallest")
    least: float = Field(default=0.5, gt=0, lt=1, description="factor of the margin where the lead is largest")
    steepness: float = Field(default=1.0, gt=0, description="how fast the factor falls around tau")

    def __call__(self, pairs: Pairs) -> Tensor:
        lead = self.lead(pairs)
        odds = math.log((self.most - 1) / (1 - self.least))
        # 1 / (1 + a exp(x)) as a sigmoid, which does not overflow.
        share = (-(self.steepness * (lead.abs() - self.tau) + odds)).sigmoid()
        factor = self.least + (self.most - self.least) * share
        weight = (log_sigmoid(factor * lead) - log_sigmoid(lead)).exp()
        return weight.where(lead > -self.tau, 1.0)


STRENGTHS: Mapping[str, type[Strength]] = {
    "mm_rlhf": MMRLHF,
    "madpo": MADPO,
}
