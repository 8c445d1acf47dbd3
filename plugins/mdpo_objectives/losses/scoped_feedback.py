"""A loss for two kinds of rows: preferences, and prompts whose answers should stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Scores, Statistic
from mdpo_objectives.formulas.columns import require
from mdpo_objectives.formulas.numerics import kl_divergence, log_sigmoid, mean_log_prob
from mdpo_objectives.formulas.options import is_always, require_default

if TYPE_CHECKING:
    from torch import Tensor

IN_SCOPE, GENERAL, NEAR_SCOPE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class TemperedDivergence:
    """KL(reference || policy) of each token's distributions at a temperature, ``(tokens,)``."""

    temperature: float

    def __call__(self, policy: Tensor, reference: Tensor | None) -> Tensor:
        assert reference is not None
        of_policy, of_reference = ((each / self.temperature).log_softmax(dim=-1) for each in (policy, reference))
        return kl_divergence(of_reference, of_policy)


class C3PO(PairLoss):
    """DPO on prompts that feedback is about; on other prompts, keep the model's own answers (arXiv:2402.10893).

        -ls(beta D) where the column scope is 0 (in scope)
        general (or near) ((1 - k) nll + k temperature^2 KL) where it is 1, a general prompt (or 2, one near the scope)
        nll: -lp_w / |y_w|        KL: mean over tokens of y_w of KL(reference || policy) at this temperature

    In rows out of scope, the preferred response must be the model's earlier answer; the other response is not used. The
    defaults are those of the released code, which takes a separate mean over each kind of row. Here all rows share one
    mean, so a kind of row weighs as much as its share of the data.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    general: ByRow = Field(default=0.2, ge=0, description="factor of general prompts")
    near: ByRow = Field(default=0.1, ge=0, description="factor of prompts near the scope")
    k: ByRow = Field(default=0.0, ge=0, le=1, description="share of the divergence in the loss out of scope")
    temperature: float = Field(default=1.0, gt=0, description="temperature of both distributions in the divergence")

    @model_validator(mode="after")
    def _temperature_goes_with_a_divergence(self) -> Self:
        if is_always(0, self.k):
            message = "temperature has an effect with a k above 0 only: set both, or leave temperature out"
            require_default(self, "temperature", message)
        return self

    def columns(self) -> tuple[str, ...]:
        return ("scope",)

    def statistics(self) -> Mapping[str, Statistic]:
        if is_always(0, self.k):
            return {}
        return {self._divergence: Statistic(TemperedDivergence(self.temperature), needs_reference=True)}

    @property
    def _divergence(self) -> str:
        return f"divergence_at_{self.temperature}"

    def compares(self, scores: Scores) -> Tensor:
        return scores.columns["scope"] == IN_SCOPE

    def check_columns(self, scores: Scores) -> None:
        scope = scores.columns["scope"]
        is_valid = (scope == IN_SCOPE) | (scope == GENERAL) | (scope == NEAR_SCOPE)
        require(scores, is_valid, "a scope must be 0 (in scope), 1 (general) or 2 (near), found", {"scope": scope})

    def __call__(self, scores: Scores) -> Tensor:
        self.check_columns(scores)
        scope = scores.columns["scope"]
        preference = -log_sigmoid(self.beta * scores.margin(self.prefer, self.over))
        general, near = (factor * self._loss_out_of_scope(scores) for factor in (self.general, self.near))
        return preference.where(scope == IN_SCOPE, general.where(scope == GENERAL, near))

    def _loss_out_of_scope(self, scores: Scores) -> Tensor:
        likelihood = -(1 - self.k) * mean_log_prob(scores, self.prefer)
        if is_always(0, self.k):
            return likelihood
        divergence = scores.statistics[self._divergence][self.prefer].sum(dim=1) / scores.num_tokens[self.prefer]
        return likelihood + self.k * self.temperature**2 * divergence


LOSSES: Mapping[str, type[Loss]] = {
    "c3po": C3PO,
}
