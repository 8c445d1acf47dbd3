"""Losses that use single tokens, or the distributions that predict them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Scores, Statistic, TokenLogProbs, View
from mdpo_objectives.formulas.columns import require
from mdpo_objectives.formulas.numerics import kl_divergence, log_sigmoid
from mdpo_objectives.formulas.options import per_token, require_default

if TYPE_CHECKING:
    from torch import Tensor


class LDDPO(PairLoss):
    """DPO that gives less weight to the tokens beyond the other response's length (LD-DPO, arXiv:2409.06411).

        -ls(beta (r'_w - r'_l))        r': the log-ratio, tokens after the first min(|y_w|, |y_l|) times ld_alpha

    With ld_alpha 1 it is DPO.
    """

    needs_tokens: ClassVar[bool] = True
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    ld_alpha: ByRow = Field(default=0.3, ge=0, le=1, description="factor of the tokens beyond the shorter response")

    def __call__(self, scores: Scores) -> Tensor:
        shared = scores.num_tokens[self.prefer].minimum(scores.num_tokens[self.over])
        return -log_sigmoid(
            self.beta * (self._log_ratio(scores, self.prefer, shared) - self._log_ratio(scores, self.over, shared))
        )

    def _log_ratio(self, scores: Scores, view: View, shared: Tensor) -> Tensor:
        policy, reference = (
            self._discounted(tokens[view], shared) for tokens in (scores.policy_tokens, scores.reference_tokens)
        )
        return policy - reference

    def _discounted(self, tokens: TokenLogProbs, shared: Tensor) -> Tensor:
        beyond = (tokens.mask.cumsum(dim=1) > shared[:, None]).to(tokens.values.dtype)
        return (tokens.values * (1 - (1 - per_token(self.ld_alpha)) * beyond)).sum(dim=1)


def divergence_from_reference(policy: Tensor, reference: Tensor | None) -> Tensor:
    """KL(reference || policy) of the distributions of each token, ``(tokens,)``."""
    assert reference is not None
    return kl_divergence(reference, policy)


class TDPO(PairLoss):
    """DPO with a term for the divergence from the reference at every token (arXiv:2404.11999).

        -ls(beta (D - a (K_l - K_w)))        K: sum over tokens of KL(reference || policy)
        a: alpha, or 1 in variant 1

    Variant 2 detaches K_w; variant 1 detaches nothing.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat")
    alpha: ByRow = Field(default=0.5, ge=0, description="factor of the divergences in variant 2")
    variant: Literal[1, 2] = Field(default=2, description="the paper's TDPO1 or TDPO2")

    @model_validator(mode="after")
    def _alpha_goes_with_variant_2(self) -> Self:
        if self.variant == 1:
            require_default(self, "alpha", "alpha has an effect with 'variant: 2' only: set both, or leave alpha out")
        return self

    def statistics(self) -> Mapping[str, Statistic]:
        return {"divergence_from_reference": Statistic(divergence_from_reference, needs_reference=True)}

    def __call__(self, scores: Scores) -> Tensor:
        divergence = scores.statistics["divergence_from_reference"]
        preferred, other = divergence[self.prefer].sum(dim=1), divergence[self.over].sum(dim=1)
        drift = other - preferred if self.variant == 1 else self.alpha * (other - preferred.detach())
        return -log_sigmoid(self.beta * (scores.margin(self.prefer, self.over) - drift))


def collision_log_prob(policy: Tensor, reference: Tensor | None) -> Tensor:
    """Log-probability that two draws from a token's distribution are equal, ``(tokens,)``."""
    return (2 * policy).logsumexp(dim=-1)


class WPO(PairLoss):
    """DPO weighted by the policy's own probability of the pair (arXiv:2406.11827).

        -w_w w_l ls(beta D)        log w = mean over tokens of lp - log sum_v p(v)^2, detached
        p(v): the policy's probability of the token v at that position

    The authors' code limits the product to 1 (``clamp``); TRL does not. The authors set beta 0.01.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    clamp: bool = Field(default=True, description="limit the weight of a pair to 1")
    weights: Literal["policy", "columns"] = Field(
        default="policy",
        description="policy: from the current policy; columns: the columns chosen_weight and rejected_weight",
    )

    def columns(self) -> tuple[str, ...]:
        return ("chosen_weight", "rejected_weight") if self.weights == "columns" else ()

    def check_columns(self, scores: Scores) -> None:
        if self.weights == "columns":
            self._weight_from_columns(scores)

    def statistics(self) -> Mapping[str, Statistic]:
        return {} if self.weights == "columns" else {"collision_log_prob": Statistic(collision_log_prob)}

    def __call__(self, scores: Scores) -> Tensor:
        weight = self._weight_from_columns(scores) if self.weights == "columns" else self._weight_from_policy(scores)
        weight = weight.clamp(max=1.0) if self.clamp else weight
        return -weight * log_sigmoid(self.beta * scores.margin(self.prefer, self.over))

    def _weight_from_columns(self, scores: Scores) -> Tensor:
        columns = {name: scores.columns[name] for name in self.columns()}
        chosen, rejected = columns.values()
        is_valid = (chosen >= 0) & (rejected >= 0) & (chosen * rejected).isfinite()
        require(scores, is_valid, "wpo needs finite weights of at least 0, found", columns)
        return chosen * rejected

    def _weight_from_policy(self, scores: Scores) -> Tensor:
        collisions = scores.statistics["collision_log_prob"]
        log_weights = [
            (scores.policy[view] - collisions[view].sum(dim=1)) / scores.num_tokens[view] for view in self.views()
        ]
        return (log_weights[0] + log_weights[1]).detach().exp()


LOSSES: Mapping[str, type[Loss]] = {
    "ld_dpo": LDDPO,
    "tdpo": TDPO,
    "wpo": WPO,
}
