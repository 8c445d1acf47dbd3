"""A loss of a whole list of views in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ByRow, Loss, Scores, View
from mdpo_objectives.formulas.columns import number, require

if TYPE_CHECKING:
    from torch import Tensor


class Listwise(Loss):
    """The order of several views, best first: Plackett-Luce (DPO, arXiv:2305.18290; over pictures in LPOI, 2505.21061).

        sum_i -log(exp(beta r_i) / sum_{j>=i} exp(beta r_j))        i, j: places in the order

    With ``form: softmax`` only the first summand: the best view against all others, as in ``softmax_dpo``. With two
    views both are DPO. ``ranks`` gives each row an order of its own.
    """

    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    order: tuple[View, ...] = Field(min_length=2, description="the views, best first; with ranks, in any order")
    form: Literal["plackett_luce", "softmax"] = Field(
        default="plackett_luce", description="plackett_luce: the whole order; softmax: the best against all others"
    )
    ranks: tuple[str, ...] = Field(
        default=(), description="columns with the rank of each view of order in a row, 1 the best; default: order"
    )

    def views(self) -> tuple[View, ...]:
        return self.order

    def columns(self) -> tuple[str, ...]:
        return self.ranks

    def number_columns(self) -> tuple[str, ...]:
        return self.ranks

    @model_validator(mode="after")
    def _an_order(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError(f"a view has one place in the order; found {', '.join(map(str, self.order))}")
        if self.ranks and len(self.ranks) != len(self.order):
            raise ValueError(f"ranks needs one column for each of the {len(self.order)} views, found {len(self.ranks)}")
        if len(set(self.ranks)) < len(self.ranks):
            raise ValueError(f"ranks needs another column for each view; found {', '.join(self.ranks)}")
        return self

    def check_columns(self, scores: Scores) -> None:
        if self.ranks:
            self._places(scores)

    def __call__(self, scores: Scores) -> Tensor:
        import torch

        rewards = torch.stack([self.beta * scores.log_ratio(view) for view in self.order], dim=-1)
        if self.ranks:
            rewards = rewards.gather(-1, self._places(scores))
        # One sum for each place: of its view and all that come after it.
        remaining = rewards.flip(-1).logcumsumexp(-1).flip(-1)
        each = (remaining - rewards)[:, :-1]
        return each[:, 0] if self.form == "softmax" else each.sum(-1)

    def _places(self, scores: Scores) -> Tensor:
        """For each row, the positions in ``order`` from the best to the worst, ``(batch, views)``."""
        import torch

        columns = {name: number(scores, name) for name in self.ranks}
        ranks, places = torch.stack(list(columns.values()), dim=-1).sort(dim=-1)
        leads = ranks.diff(dim=-1) > 0
        if self.form == "softmax":
            needed, differ = "one best view", leads[:, 0]
        else:
            needed, differ = "an order without ties", leads.all(dim=-1)
        require(
            scores, differ, f"listwise needs {needed} (mend the ranks, or remove the row), found the ranks", columns
        )
        return places


LOSSES: Mapping[str, type[Loss]] = {"listwise": Listwise}
