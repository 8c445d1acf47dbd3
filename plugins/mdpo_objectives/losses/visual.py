"""Losses that measure what the picture adds to the score of a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Scores, View
from mdpo_objectives.formulas.numerics import log_sigmoid
from mdpo_objectives.formulas.options import is_always, per_token

if TYPE_CHECKING:
    from torch import Tensor


class VDPO(PairLoss):
    """DPO of a policy with classifier-free guidance by the picture (V-DPO, arXiv:2411.02712).

        -ls(beta ((v_w - lq_w) - (v_l - lq_l))) - language_bias ls(beta (r(m,y_w) - r(m',y_w)))
        v = guidance lp(m,y) - (guidance - 1) lp(m',y), terms with m' detached
        lq: log-prob under the reference        m': condition ``blank``

    The paper's blank picture is noise. The guidance has no default: the authors' script sets 0, with which their code
    trains nothing. With guidance 1 and no language bias it is DPO. For the paper's contrast of better and worse
    pictures under one response, add a ``dpo`` to the objective.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    guidance: ByRow = Field(gt=0, description="weight of the picture; 1: no guidance")
    language_bias: ByRow = Field(default=0.0, ge=0, description="factor of the second term")
    blank: str = Field(default="blank", description="the condition that shows nothing")

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over, *(replace(view, condition=self.blank) for view in (self.prefer, self.over)))

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other, preferred_blank, _ = self.views()
        loss = -log_sigmoid(self.beta * (self._guided(scores, preferred) - self._guided(scores, other)))
        if is_always(0, self.language_bias):
            return loss
        gain = scores.log_ratio(preferred) - scores.log_ratio(preferred_blank).detach()
        return loss - self.language_bias * log_sigmoid(self.beta * gain)

    def _guided(self, scores: Scores, view: View) -> Tensor:
        blank = scores.policy[replace(view, condition=self.blank)].detach()
        return self.guidance * scores.policy[view] - (self.guidance - 1) * blank - scores.reference[view]


class VisualTPO(PairLoss):
    """DPO that weights tokens by how much they depend on the picture (token preference optimization, arXiv:2412.14487).

        -ls(beta (sum_t c_t r_t^w - sum_t c_t r_t^l))        d_t = lp(m,y_t) - lp(m',y_t), detached
        c_t = base + s(d_t) of the preferred response, base + 1 - s(d_t) of the other
        t: tokens        m': condition ``noisy``

    The paper's noisy picture has diffusion noise of step 500. Reconstructed from descriptions: log-probs replace the
    paper's logits, and ``base`` has no default (the paper sets 0.5). It is not TRL's TPO, which has three responses.
    """

    needs_tokens: ClassVar[bool] = True
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    base: ByRow = Field(ge=0, description="weight of a token that does not depend on the picture, minus 0.5")
    noisy: str = Field(default="noisy", description="the condition with the noisy picture")

    @model_validator(mode="after")
    def _weighs_tokens_of_responses(self) -> Self:
        if self.prefer.with_prompt or self.over.with_prompt:
            raise ValueError(
                "the tokens of a prompt may differ between conditions: set 'scored: response', and use views without "
                "'prompt+'"
            )
        return self

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over, *(replace(view, condition=self.noisy) for view in (self.prefer, self.over)))

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = self._weighted(scores, self.prefer, 1), self._weighted(scores, self.over, -1)
        return -log_sigmoid(self.beta * (preferred - other))

    def _weighted(self, scores: Scores, view: View, sign: int) -> Tensor:
        policy, reference = scores.policy_tokens[view].values, scores.reference_tokens[view].values
        sensitivity = policy - scores.policy_tokens[replace(view, condition=self.noisy)].values
        # s(-d) is 1 - s(d).
        weights = per_token(self.base) + (sign * sensitivity.detach()).sigmoid()
        return (weights * (policy - reference)).sum(dim=1)


LOSSES: Mapping[str, type[Loss]] = {
    "v_dpo": VDPO,
    "visual_tpo": VisualTPO,
}
