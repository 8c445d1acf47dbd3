"""A self-supervised loss: a classifier predicts how much of a response has been removed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core import ByRow, Loss, Probe, Scores, View

if TYPE_CHECKING:
    from torch import Tensor, nn


def classifier(classes: int, layers: int, width: int) -> nn.Module:
    """A linear map from hidden states ``(tokens, layers, width)`` to logits ``(tokens, classes)``."""
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(layers * width, classes))


class SPO(Loss):
    """Predict how much of a response has been removed (self-supervised preference optimization, arXiv:2409.17791).

        mean over k of -log softmax(h(y_k))_k        h: a linear classifier of the last token's hidden state
        y_k: the views of ``degrees``

    The views are responses in the data, from the complete one to the one without most of its key spans. Reconstructed
    from the abstract, because no code was released. With a preference loss, ``weight`` is the paper's gamma; it has no
    default, because the paper's value is not known. Gradients reach the policy.
    """

    needs_reference: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = True
    weight: ByRow = Field(ge=0, description="factor of this term in the objective")
    degrees: tuple[View, ...] = Field(min_length=2, description="the views, the complete response first")

    def views(self) -> tuple[View, ...]:
        return self.degrees

    def probes(self) -> Mapping[str, Probe]:
        return {"degree": Probe(partial(classifier, len(self.degrees)))}

    def __call__(self, scores: Scores) -> Tensor:
        import torch

        costs = [self._cost(scores, view, degree) for degree, view in enumerate(self.degrees)]
        return torch.stack(costs).mean(dim=0)

    def _cost(self, scores: Scores, view: View, degree: int) -> Tensor:
        import torch

        logits, mask = scores.probes["degree"][view], scores.policy_tokens[view].mask
        last = (mask * mask.new_ones(mask.shape).cumsum(dim=1)).argmax(dim=1)
        rows = torch.arange(len(last), device=last.device)
        return -logits[rows, last].log_softmax(dim=-1)[:, degree]


LOSSES: Mapping[str, type[Loss]] = {
    "spo": SPO,
}
