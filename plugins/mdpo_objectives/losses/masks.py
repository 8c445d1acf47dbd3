"""A preference loss over masked tokens; the masks are learned, or the reference's activations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, PairLoss, Probe, Scores, Statistic, View
from mdpo_objectives.formulas.numerics import log_sigmoid
from mdpo_objectives.formulas.options import require_default
from mdpo_objectives.losses.tokens import divergence_from_reference

if TYPE_CHECKING:
    from torch import Tensor, nn


def learned_masks(masks: int, layers: int, width: int) -> nn.Module:
    """The module that computes SparsePO's masks; see `LearnedMasks`."""
    from mdpo_objectives.modules.mask_modules import LearnedMasks

    return LearnedMasks(masks, layers, width)


def mean_activations(layers: int, width: int) -> nn.Module:
    """The module that computes MaPO's masks; see `MeanActivations`."""
    from mdpo_objectives.modules.mask_modules import MeanActivations

    return MeanActivations()


class SparsePO(PairLoss):
    """TDPO1 with masks on the log-ratios and divergences of tokens (SparsePO, MaPO, arXiv:2410.05102).

        -ls(beta (u - d)) + l1_u sum(M_u) + l1_d sum(M_d)
        u = sum_t M_u r_t^w - sum_t M_u r_t^l, d = sum_t M_d K_t^l - sum_t M_d K_t^w
        M_u, M_d: masks of tokens t, from 0 to 1        K_t: KL(reference || policy) of their distributions

    ``masks: learned`` is SparsePO: a linear map and a ReLU for each layer of the reference, averaged over layers and
    limited to 1. Masks begin at 1, where the loss is ``tdpo`` with variant 1. The authors' code learns the weights of
    layers instead of their mean, and has no limit. ``activations`` is MaPO: each layer's mean activation, scaled from 0
    (a response's lowest token) to 1 (its highest) and averaged over layers, as in their code. The l1 sums are over both
    responses. The authors set beta 0.8 for summaries, and beta 0.1 with l1 0.001 for dialogues.
    """

    needs_tokens: ClassVar[bool] = True
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat")
    masks: Literal["learned", "activations"] = Field(default="learned", description="SparsePO's masks, or MaPO's")
    shared: bool = Field(default=False, description="use the same learned mask for log-ratios and divergences")
    l1_u: ByRow = Field(default=0.001, ge=0, description="cost of a token in the mask of log-ratios")
    l1_d: ByRow = Field(default=0.001, ge=0, description="cost of a token in the mask of divergences")

    @model_validator(mode="after")
    def _shared_goes_with_learned_masks(self) -> Self:
        if self.masks == "activations":
            require_default(
                self, "shared", "shared has an effect with 'masks: learned' only: set both, or leave shared out"
            )
        return self

    def statistics(self) -> Mapping[str, Statistic]:
        return {"divergence_from_reference": Statistic(divergence_from_reference, needs_reference=True)}

    def probes(self) -> Mapping[str, Probe]:
        if self.masks == "activations":
            return {"masks": Probe(mean_activations, reads="reference")}
        return {"masks": Probe(partial(learned_masks, 1 if self.shared else 2), reads="reference")}

    def __call__(self, scores: Scores) -> Tensor:
        preferred, other = self._masked(scores, self.prefer), self._masked(scores, self.over)
        logit = self.beta * ((preferred[0] - other[0]) - (other[1] - preferred[1]))
        return -log_sigmoid(logit) + preferred[2] + other[2]

    def _masked(self, scores: Scores, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """The masked log-ratio, the masked divergence and the l1 cost of the masks, each ``(batch,)``."""
        policy, reference = scores.policy_tokens[view], scores.reference_tokens[view]
        of_ratios, of_divergences = self._masks(scores, view)
        ratio = (of_ratios * (policy.values - reference.values)).sum(dim=1)
        divergence = (of_divergences * scores.statistics["divergence_from_reference"][view]).sum(dim=1)
        return ratio, divergence, self.l1_u * of_ratios.sum(dim=1) + self.l1_d * of_divergences.sum(dim=1)

    def _masks(self, scores: Scores, view: View) -> tuple[Tensor, Tensor]:
        """The masks of log-ratios and of divergences, each ``(batch, time)``; 0 for tokens that are not scored."""
        values, is_scored = scores.probes["masks"][view], scores.policy_tokens[view].mask
        if self.masks == "activations":
            masks = [spread_out(values, is_scored).mean(dim=-1)] * 2
        else:
            masks = [values[..., 0], values[..., -1]]
        of_ratios, of_divergences = (mask.where(is_scored, 0).to(scores.policy[view].dtype) for mask in masks)
        return of_ratios, of_divergences


def spread_out(values: Tensor, mask: Tensor) -> Tensor:
    """Scale each row from 0 (its lowest token) to 1 (its highest); 1 if all are equal. ``(batch, time, layers)``"""
    inside = mask[..., None]
    lowest = values.where(inside, float("inf")).amin(dim=1, keepdim=True)
    width = values.where(inside, float("-inf")).amax(dim=1, keepdim=True) - lowest
    return ((values - lowest) / width).where(width > 0, 1)


LOSSES: Mapping[str, type[Loss]] = {
    "sparse_po": SparsePO,
}
