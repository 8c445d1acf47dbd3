"""The contract of strengths catches strengths that are broken on purpose, and says what they break."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from mdpo_core import BatchMean, Pairs, Strength
from mdpo_core.testing import check_strength

COLUMNS = {"score": st.floats(-2, 2)}


def margins(pairs: Pairs) -> Tensor:
    return pairs.margins


class Sound(Strength):
    """Grows with the lead over the batch, and with a column."""

    reads_margins: ClassVar[bool] = True

    def columns(self) -> tuple[str, ...]:
        return ("score",)

    def means(self) -> Mapping[str, BatchMean]:
        return {"margin": BatchMean(margins), "usual": BatchMean(margins, decay=0.9)}

    def __call__(self, pairs: Pairs) -> Tensor:
        lead = pairs.margins - pairs.means["margin"] - pairs.means["usual"]
        return 0.1 + lead.sigmoid() * pairs.columns["score"].exp()


class MeanOfMicroBatch(Sound):
    """Takes the mean of the pairs that it is given, so micro-batches change it."""

    def __call__(self, pairs: Pairs) -> Tensor:
        return 0.1 + (pairs.margins - pairs.margins.mean()).sigmoid()


class MeasureOfMicroBatch(Sound):
    def means(self) -> Mapping[str, BatchMean]:
        return {**super().means(), "margin": BatchMean(lambda pairs: pairs.margins - pairs.margins.mean())}


class Negative(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return pairs.margins


class Zero(Sound):
    """Is 0 where it rounds."""

    def __call__(self, pairs: Pairs) -> Tensor:
        return pairs.margins.sigmoid()


class Overflowing(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return 0.1 + pairs.margins.exp()


class WithGradient(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return super().__call__(pairs) * torch.ones(1, dtype=torch.float64, requires_grad=True)


class OneForAll(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return super().__call__(pairs).mean()


class Whole(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return super().__call__(pairs).ceil().long()


class Drawn(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return super().__call__(pairs) + torch.rand(1)


class Counting(Sound):
    """Remembers how often it was called."""

    calls: ClassVar[list[int]] = []

    def __call__(self, pairs: Pairs) -> Tensor:
        self.calls.append(1)
        return super().__call__(pairs) + len(self.calls)


class InPlace(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return pairs.columns["score"].exp_() + 0.1


class Peeking(Sound):
    def __call__(self, pairs: Pairs) -> Tensor:
        return pairs.columns["length"]


class UndeclaredMargins(Sound):
    reads_margins: ClassVar[bool] = False

    def means(self) -> Mapping[str, BatchMean]:
        return {}


class UndeclaredMean(Sound):
    def means(self) -> Mapping[str, BatchMean]:
        return {"margin": BatchMean(margins)}


class EndlessMean(Sound):
    def means(self) -> Mapping[str, BatchMean]:
        return {**super().means(), "usual": BatchMean(margins, decay=1.0)}


class Refusing(Sound):
    def check_columns(self, pairs: Pairs) -> None:
        raise ZeroDivisionError("no score")


def test_a_sound_strength_passes() -> None:
    check_strength(Sound(), columns=COLUMNS)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (MeanOfMicroBatch, "the numbers of MeanOfMicroBatch depend on the other pairs of a micro-batch"),
        (MeasureOfMicroBatch, "the margin of MeasureOfMicroBatch depend on the other pairs of a micro-batch"),
        (Negative, "each must be finite and above 0"),
        (Zero, "each must be finite and above 0"),
        (Overflowing, "each must be finite and above 0"),
        (WithGradient, "gives numbers with a gradient; detach them"),
        (OneForAll, "must give numbers of the shape"),
        (Whole, "must give numbers of the shape"),
        (Drawn, "gives different numbers for the same pairs|uses global random generators"),
        (Counting, "gives different numbers for the same pairs"),
        (InPlace, "gives different numbers for the same pairs|changes what it reads in place"),
        (Peeking, "reads something that it does not declare: column 'length'"),
        (UndeclaredMargins, "reads something that it does not declare: 'margins' has no values here"),
        (UndeclaredMean, "reads something that it does not declare: batch mean 'usual'"),
        (EndlessMean, "keeps 1.0 of its mean 'usual'; it must be 0 to below 1|decay"),
        (Refusing, "no score"),
    ],
)
def test_a_broken_strength_is_caught(cls: type[Strength], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_strength(cls(), columns=COLUMNS)
