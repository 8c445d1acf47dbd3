"""Strengths that depend on the margins of the whole batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core import BatchMean, Pairs, Strength
from mdpo_objectives.formulas.columns import number

if TYPE_CHECKING:
    from torch import Tensor


def margins(pairs: Pairs) -> Tensor:
    """What `BetaDPO` takes the mean of, ``(batch,)``."""
    return pairs.margins


def sigmoid_of_margins(pairs: Pairs) -> Tensor:
    """What `DAMA` takes the mean of besides margins, ``(batch,)``."""
    return pairs.margins.sigmoid()


class BetaDPO(Strength):
    """One beta for the whole batch, which grows with its mean margin (beta-DPO, arXiv:2407.08639).

        max(least, beta (1 + alpha (M - M0)))        M: mean of D over the batch
        M0: mean of D over the steps so far, this one included; it keeps momentum, and begins at 0

    The authors' code updates M0 before it is used, and takes the means of a micro-batch of all processes; here they
    are those of the whole batch. Their filter, which trains only on pairs near M0, is left out. alpha is their
    example's.
    """

    reads_margins: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0, description="beta of a batch with a usual mean margin")
    alpha: float = Field(default=0.6, ge=0, description="share by which beta grows with each nat of mean margin")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the usual margin that a step keeps")
    least: float = Field(default=0.001, gt=0, description="the smallest beta")

    def means(self) -> Mapping[str, BatchMean]:
        return {"batch": BatchMean(margins), "usual": BatchMean(margins, decay=self.momentum)}

    def __call__(self, pairs: Pairs) -> Tensor:
        # M - M0 with M0 = momentum usual + (1 - momentum) M
        lead = self.momentum * (pairs.means["batch"] - pairs.means["usual"])
        beta = max(self.least, self.beta * (1 + self.alpha * lead))
        return pairs.margins.new_full(pairs.margins.shape, beta)


class DAMA(Strength):
    """A beta that grows where the picture tells the answers apart, and with the batch (DAMA, arXiv:2502.01943).

        max(least, beta s(g) / s(usual_gap) S / s(M0))        g: column similarity_gap
        S: mean of s(D) over the batch        M0: mean of D over the steps before; it keeps momentum, and begins at 0

    Reconstructed from the authors' code. g is the similarity of picture and chosen answer minus that of picture and
    rejected answer, by CLIP; usual_gap is its mean over the data. The means are those of the whole batch, not of a
    micro-batch. The authors' filter, which trains only on pairs near M0, is left out. Below -30, M0 counts as -30.
    """

    reads_margins: ClassVar[bool] = True
    usual_gap: float = Field(description="mean of the column similarity_gap over the data")
    beta: float = Field(default=0.1, gt=0, description="beta of a usual pair in a usual batch")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the usual margin that a step keeps")
    least: float = Field(default=0.001, gt=0, description="the smallest beta")

    def columns(self) -> tuple[str, ...]:
        return ("similarity_gap",)

    def check_columns(self, pairs: Pairs) -> None:
        number(pairs, "similarity_gap")

    def means(self) -> Mapping[str, BatchMean]:
        return {"batch": BatchMean(sigmoid_of_margins), "usual": BatchMean(margins, decay=self.momentum)}

    def __call__(self, pairs: Pairs) -> Tensor:
        of_batch = pairs.means["batch"] / _sigmoid(pairs.means["usual"])
        of_row = number(pairs, "similarity_gap").sigmoid() / _sigmoid(self.usual_gap)
        beta: Tensor = self.beta * of_row * of_batch
        return beta.clamp(min=self.least)


def _sigmoid(value: float) -> float:
    """The sigmoid of a number; of -30 for lower ones, so that it can divide."""
    return 1 / (1 + math.exp(-max(value, -30.0)))


STRENGTHS: Mapping[str, type[Strength]] = {
    "beta_dpo": BetaDPO,
    "dama": DAMA,
}
