"""An anchor: likelihood, weighted by an advantage that is in the data or learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import Anchor, ByRow, Probe, Scores
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
        V(x): a linear map of the hidden state of the policy at the end of the prompt x

    With ``kto`` it is the paper's objective; ``weight`` is its gamma, which also multiplies the loss of V. The loss of
    V trains only the linear map. Beyond e^29 (float32) the exponential continues as its tangent. Reconstructed from
    descriptions: the paper's constants are not known, so weight, alpha and (with a value head) tau have no default.
    """

    needs_reference: ClassVar[bool] = False
    weight: ByRow = Field(ge=0, description="factor of this term in the objective")
    alpha: ByRow = Field(gt=0, description="advantage that multiplies the likelihood's weight by e")
    advantage: Literal["column", "value_head"] = Field(
        default="column", description="column: from the data; value_head: reward minus V(x)"
    )
    tau: float | None = Field(default=None, gt=0, lt=1, description="expectile of the rewards that V(x) learns")

    @model_validator(mode="after")
    def _tau_goes_with_a_value_head(self) -> Self:
        if (self.tau is None) == (self.advantage == "value_head"):
            raise ValueError("tau is the expectile of a value head: set it with 'advantage: value_head', and only then")
        if self.tau is not None and self.on.with_prompt:
            raise ValueError("a value head reads the end of the prompt: use a view without 'prompt+'")
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
        advantage = number(scores, "reward") - scores.probes["value"][self.on][:, 0, 0]
        # A negative advantage weighs 1 - tau, others weigh tau.
        expectile = (self.tau - (advantage < 0).to(advantage.dtype)).abs() * advantage.square()
        return self._weighted(scores, advantage.detach()) + expectile

    def _weighted(self, scores: Scores, advantage: Tensor) -> Tensor:
        return -bounded_exp(advantage / self.alpha) * scores.policy[self.on]


ANCHORS: Mapping[str, type[Anchor]] = {
    "hpo": HPO,
}
