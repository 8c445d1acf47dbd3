"""Losses of more than two views, and a loss of one view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Scores, View
from mdpo_objectives.formulas.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor


class SoftmaxDPO(Loss):
    """DPO of one preferred view against several other views, in one softmax (Softmax-DPO, arXiv:2406.09215).

        -ls(-log sum_j exp(beta (r_j - r_w)))        j: the views of ``over``

    With one view it is DPO. With the rejected response and a corrupted image it is like AdaViP (arXiv:2504.15619).
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    prefer: View = Field(default=View("chosen"), description="the preferred view")
    over: tuple[View, ...] = Field(min_length=1, description="the views that it is compared with")

    def views(self) -> tuple[View, ...]:
        return (self.prefer, *self.over)

    @model_validator(mode="after")
    def _different_views(self) -> Self:
        if len(set(self.views())) < len(self.views()):
            raise ValueError(f"the views must differ, found {', '.join(map(str, self.views()))}")
        return self

    def __call__(self, scores: Scores) -> Tensor:
        import torch

        margins = torch.stack([scores.margin(self.prefer, view) for view in self.over])
        return -log_sigmoid(-(-self.beta * margins).logsumexp(dim=0))


class SVCO(Loss):
    """Two pictures with one answer each: prefer its own picture to none, and none to the other (arXiv:2502.13928).

        - ls(beta1 (r(m,y_w) - r(0,y_w))) - ls(beta2 (r(0,y_w) - r(m',y_w)))
        - ls(beta1 (r(m',y_l) - r(0,y_l))) - ls(beta2 (r(0,y_l) - r(m,y_l)))
        m': condition ``corrupted``        0: condition ``blank``, instead of an image

    The rejected response describes m' correctly.
    """

    beta1: ByRow = Field(default=0.1, gt=0, description="reward per nat: an answer's own picture against none")
    beta2: ByRow = Field(default=0.1, gt=0, description="reward per nat: no picture against the other one")
    corrupted: str = Field(default="corrupted", description="the condition with the other picture")
    blank: str = Field(default="blank", description="the condition without a picture")

    def views(self) -> tuple[View, ...]:
        return (*self._chain("chosen", "clean", self.corrupted), *self._chain("rejected", self.corrupted, "clean"))

    def _chain(self, response: str, own: str, other: str) -> tuple[View, View, View]:
        """The response under its own picture, under none and under the other, best first."""
        return View(response, own), View(response, self.blank), View(response, other)

    def __call__(self, scores: Scores) -> Tensor:
        views = self.views()
        return self._ranked(scores, *views[:3]) + self._ranked(scores, *views[3:])

    def _ranked(self, scores: Scores, own: View, none: View, other: View) -> Tensor:
        own_over_none = -log_sigmoid(self.beta1 * scores.margin(own, none))
        return own_over_none - log_sigmoid(self.beta2 * scores.margin(none, other))


class SymMPO(PairLoss):
    """Two similar pictures: the answer to each picture is the rejected answer to the other (arXiv:2506.11712).

        -ls(beta D) + lam (-ls(beta x1) - ls(beta x2)) - ls(beta r(m1,y1)) - ls(beta r(m2,y2)) + gamma (x1 - x2)^2
        x1 = r(m1,y1) - r(m1,y2), x2 = r(m2,y2) - r(m2,y1)
        m1, y1: image and response of the preferred view        m2, y2: the second image and its response

    The options ``condition`` and ``response`` name m2 and y2.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    lam: ByRow = Field(default=0.5, ge=0, description="factor of the two symmetric terms")
    gamma: ByRow = Field(default=1e-4, ge=0, description="factor of the squared difference of their margins")
    condition: str = Field(default="second", description="the condition with the second picture")
    response: str = Field(default="second", description="the response that describes it")

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over, *self._crossed())

    def _crossed(self) -> tuple[View, View, View]:
        """Three views: second answer to the first picture, first to the second, and second to the second."""
        return (
            replace(self.prefer, response=self.response),
            replace(self.prefer, condition=self.condition),
            replace(self.prefer, response=self.response, condition=self.condition),
        )

    def __call__(self, scores: Scores) -> Tensor:
        second_to_first, first_to_second, second = self._crossed()
        one, two = scores.margin(self.prefer, second_to_first), scores.margin(second, first_to_second)
        symmetric = -log_sigmoid(self.beta * one) - log_sigmoid(self.beta * two)
        anchors = -log_sigmoid(self.beta * scores.log_ratio(self.prefer)) - log_sigmoid(
            self.beta * scores.log_ratio(second)
        )
        preference = -log_sigmoid(self.beta * scores.margin(self.prefer, self.over))
        return preference + self.lam * symmetric + anchors + self.gamma * (one - two).square()


class CHiP(PairLoss):
    """The margins of response and image in one log-sigmoid, as in CHiP's code (arXiv:2501.16629).

        -ls(beta (D + r(m,y_w) - r(m',y_w)))        m': condition ``corrupted``

    The paper adds two terms, which is ``dpo`` twice. The token-level divergence of paper and code is not implemented.
    """

    beta: ByRow = Field(default=0.5, gt=0, description="reward per nat of log-ratio")
    corrupted: str = Field(default="corrupted", description="the condition with the corrupted picture")

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over, replace(self.prefer, condition=self.corrupted))

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other, corrupted = self.views()
        return -log_sigmoid(self.beta * (scores.margin(preferred, other) + scores.margin(preferred, corrupted)))


class Rationale(Loss):
    """Likelihood of a rationale for the preference, in addition to a preference loss (arXiv:2407.14477).

        -gamma lp(rationale), or with log_sigmoid -ls(gamma lp(rationale))

    The rationale is a response like any other. In the paper, its prompt contains the two responses; that depends on the
    data. The log-sigmoid, with gamma 0.1, is the form of the authors' code.
    """

    needs_reference: ClassVar[bool] = False
    on: View = Field(default=View("rationale"), description="the view of the rationale")
    gamma: ByRow = Field(default=1.0, gt=0, description="factor of the log-prob")
    log_sigmoid: bool = Field(default=False, description="use the log-sigmoid of the authors' code")

    def views(self) -> tuple[View, ...]:
        return (self.on,)

    def __call__(self, scores: Scores) -> Tensor:
        log_prob = self.gamma * scores.policy[self.on]
        return -log_sigmoid(log_prob) if self.log_sigmoid else -log_prob


LOSSES: Mapping[str, type[Loss]] = {
    "softmax_dpo": SoftmaxDPO,
    "s_vco": SVCO,
    "symmpo": SymMPO,
    "chip": CHiP,
    "rationale": Rationale,
}
