"""Preference over tokens that masks pick, learned ones or the reference's activations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import Loss, PairLoss, Probe, Scores, Statistic, View
from mdpo_objectives.formulas.numerics import log_sigmoid
from mdpo_objectives.formulas.options import require_default
from mdpo_objectives.losses.tokens import divergence_from_reference

if TYPE_CHECKING:
    from torch import Tensor, nn


def learned_masks(masks: int, layers: int, width: int) -> nn.Module:
    """The module of SparsePO's masks; see `LearnedMasks`."""
    from mdpo_objectives.modules.mask_modules import LearnedMasks

    return LearnedMasks(masks, layers, width)


def mean_activations(layers: int, width: int) -> nn.Module:
    """The module of MaPO's masks; see `MeanActivations`."""
    from mdpo_objectives.modules.mask_modules import MeanActivations

    return MeanActivations()


class SparsePO(PairLoss):
    """TDPO1 whose log-ratios and divergences count where masks let them (SparsePO, MaPO, arXiv:2410.05102).

        -ls(beta (u - d)) + l1_u sum(M_u) + l1_d sum(M_d)
        u = sum_t M_u r_t^w - sum_t M_u r_t^l, d = sum_t M_d K_t^l - sum_t M_d K_t^w
        M_u, M_d: masks of tokens t, from 0 to 1        K_t: KL(reference || policy) of their distributions

    ``masks: learned`` is SparsePO: a linear map and a ReLU for each layer of the reference, and their mean, held at 1
    or below; they begin at 1, which is ``tdpo`` of variant 1. The authors' code has a learned sum of layers, without a
    bound. ``activations`` is MaPO: each layer's mean activation, from 0 for the lowest of a response's tokens to 1 for
    the highest, averaged over layers, as their code has it. The sums run over both responses.
    The authors have beta 0.8 for summaries and 0.1 for dialogues, there with l1 0.001.
    """

    needs_tokens: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0, description="reward per nat")
    masks: Literal["learned", "activations"] = Field(default="learned", description="SparsePO's masks, or MaPO's")
    shared: bool = Field(default=False, description="one learned mask for log-ratios and divergences")
    l1_u: float = Field(default=0.001, ge=0, description="cost of a token in the mask of log-ratios")
    l1_d: float = Field(default=0.001, ge=0, description="cost of a token in the mask of divergences")

    @model_validator(mode="after")
    def _shared_goes_with_learned_masks(self) -> Self:
        if self.masks == "activations":
            require_default(
                self, "shared", "shared is about learned masks: give it with 'masks: learned', and only there"
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
        """Masked log-ratio, masked divergence and what the masks cost, each ``(batch,)``."""
        policy, reference = scores.policy_tokens[view], scores.reference_tokens[view]
        of_ratios, of_divergences = self._masks(scores, view)
        ratio = (of_ratios * (policy.values - reference.values)).sum(dim=1)
        divergence = (of_divergences * scores.statistics["divergence_from_reference"][view]).sum(dim=1)
        return ratio, divergence, self.l1_u * of_ratios.sum(dim=1) + self.l1_d * of_divergences.sum(dim=1)

    def _masks(self, scores: Scores, view: View) -> tuple[Tensor, Tensor]:
        """Both ``(batch, time)``, 0 for what is not scored."""
        found, mask = scores.probes["masks"][view], scores.policy_tokens[view].mask
        if self.masks == "activations":
            both = [spread_out(found, mask).mean(dim=-1)] * 2
        else:
            both = [found[..., 0], found[..., -1]]
        of_ratios, of_divergences = (each.where(mask, 0).to(scores.policy[view].dtype) for each in both)
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
