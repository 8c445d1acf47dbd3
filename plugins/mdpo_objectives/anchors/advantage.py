"""Likelihood weighted by an advantage, given or learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import Anchor, Probe, Scores
from mdpo_objectives.formulas.columns import number
from mdpo_objectives.formulas.numerics import bounded_exp

if TYPE_CHECKING:
    from torch import Tensor, nn


def value_head(layers: int, width: int) -> nn.Module:
    """The module that predicts V(x); see `ValueHead`."""
    from mdpo_objectives.modules.value_head import ValueHead

    return ValueHead(layers * width)


class HPO(Anchor):
    """Likelihood of one view's response, weighted by its advantage (hybrid preference optimization, arXiv:2405.17956).

        -exp(A / alpha) lp        A: column advantage, detached
        value_head: A = R - V(x), R: column reward, and + |tau - 1(u < 0)| u^2, u = R - V(x)
        V(x): a linear map of what the policy makes of the prompt x

    Beside ``kto`` it is the paper's objective, and ``weight`` its gamma, which V's own loss has, too. Through V nothing
    but the map itself learns. The exponential goes on as a straight line beyond e^29 (float32). Reconstructed from
    descriptions: constants are not known, so weight, alpha and, with a value head, the expectile tau are to be given.
    """

    needs_reference: ClassVar[bool] = False
    weight: float = Field(ge=0, description="factor of this term in the objective")
    alpha: float = Field(gt=0, description="advantage that multiplies the likelihood's weight by e")
    advantage: Literal["column", "value_head"] = Field(default="column", description="given, or reward less V(x)")
    tau: float | None = Field(default=None, gt=0, lt=1, description="expectile of the rewards that V aims at")

    @model_validator(mode="after")
    def _tau_goes_with_a_value_head(self) -> Self:
        if (self.tau is None) == (self.advantage == "value_head"):
            raise ValueError(
                "tau is the expectile of a value head: give it with 'advantage: value_head', and only there"
            )
        if self.tau is not None and self.on.with_prompt:
            raise ValueError("V(x) is read where the prompt ends: a value head goes with a view without 'prompt+'")
        return self

    def columns(self) -> tuple[str, ...]:
        return ("advantage",) if self.tau is None else ("reward",)

    def check_columns(self, scores: Scores) -> None:
        for name in self.columns():
            number(scores, name)

    def probes(self) -> Mapping[str, Probe]:
        return {} if self.tau is None else {"value": Probe(value_head)}

    def __call__(self, scores: Scores) -> Tensor:
        if self.tau is None:
            return self._weighted(scores, number(scores, "advantage"))
        apart = number(scores, "reward") - scores.probes["value"][self.on][:, 0, 0]
        # What lies below the value weighs 1 - tau.
        expectile = (self.tau - (apart < 0).to(apart.dtype)).abs() * apart.square()
        return self._weighted(scores, apart.detach()) + expectile

    def _weighted(self, scores: Scores, advantage: Tensor) -> Tensor:
        return -bounded_exp(advantage / self.alpha) * scores.policy[self.on]


ANCHORS: Mapping[str, type[Anchor]] = {
    "hpo": HPO,
}
