"""The contract of options that differ by row catches terms that are wrong with one number for each row."""

from __future__ import annotations

import pytest
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from mdpo_core import ByRow, PairLoss, Scores
from mdpo_core.testing import check_loss


class Sound(PairLoss):
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat")
    gamma: ByRow = Field(default=0.0, description="target")

    def __call__(self, scores: Scores) -> Tensor:
        return softplus(self.gamma - self.beta * scores.margin(self.prefer, self.over))


class MeanOfRows(Sound):
    """Uses the mean number of the rows for all of them."""

    def __call__(self, scores: Scores) -> Tensor:
        beta = torch.as_tensor(self.beta, dtype=torch.float64).mean()
        return softplus(self.gamma - beta * scores.margin(self.prefer, self.over))


class FirstRow(Sound):
    def __call__(self, scores: Scores) -> Tensor:
        beta = torch.as_tensor(self.beta, dtype=torch.float64).reshape(-1)[0]
        return softplus(self.gamma - beta * scores.margin(self.prefer, self.over))


class MarginOfOtherRows(Sound):
    """Is wrong only in an option that is 0 by default."""

    def __call__(self, scores: Scores) -> Tensor:
        gamma = torch.as_tensor(self.gamma, dtype=torch.float64)
        return softplus(gamma.flip(0) if gamma.ndim else gamma) + self._logistic(scores)

    def _logistic(self, scores: Scores) -> Tensor:
        return softplus(-self.beta * scores.margin(self.prefer, self.over))


class Branching(Sound):
    """Asks a number of all rows whether it is large."""

    def __call__(self, scores: Scores) -> Tensor:
        factor = 2 if self.beta > 0.07 else 1
        return softplus(-factor * self.beta * scores.margin(self.prefer, self.over))


def test_a_sound_term_passes() -> None:
    check_loss(Sound())


@pytest.mark.parametrize(
    ("cls", "option"),
    [(MeanOfRows, "beta"), (FirstRow, "beta"), (MarginOfOtherRows, "gamma"), (Branching, "beta")],
)
def test_a_term_that_is_wrong_by_row_is_caught(cls: type[PairLoss], option: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_loss(cls())
    text = str(caught.value)
    assert f"'{option}' of {cls.__name__}" in text or "Boolean value of Tensor" in text, text
