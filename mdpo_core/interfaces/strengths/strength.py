"""Strengths: a number for each pair, in the place of one number for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core.interfaces.component import Component
from mdpo_core.types.declared import OnlyDeclared, Undeclared

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """What a strength sees of some pairs; nothing in it has a gradient.

    ``columns[name]``, ``(batch,)``: the data columns that it declares. ``means[name]``: a number for each `BatchMean`
    that it declares. ``ids``: the names of the rows in messages.
    """

    columns: Mapping[str, Tensor]
    means: Mapping[str, float] = field(default_factory=lambda: OnlyDeclared({}, "batch mean"))
    ids: tuple[str, ...] = ()
    measured_margins: Tensor | None = None

    @property
    def margins(self) -> Tensor:
        """The margin of the term's two views, ``(batch,)``, nats: a difference of log-ratios, before any beta."""
        if self.measured_margins is None:
            raise Undeclared("'margins' has no values here: they are for strengths that say reads_margins = True")
        return self.measured_margins

    @classmethod
    def of_columns(cls, name: str, columns: Mapping[str, float]) -> Pairs:
        """Only the columns of one row; ``name`` is its id."""
        import torch

        values = {column: torch.tensor([value]) for column, value in columns.items()}
        return cls(OnlyDeclared(values, "column"), ids=(name,))


@dataclass(frozen=True)
class BatchMean:
    """A mean over all pairs of a step, whatever its micro-batches and its processes.

    ``measure`` returns one number for each pair, ``(batch,)``; it reads no mean. Without ``decay``, the mean is that of
    the step which is computed; in an evaluation, that of the last finished step. With it, the mean becomes
    ``decay * mean + (1 - decay) * (the step's mean)`` when a step is finished. Both are 0 before the first step, and
    checkpoints contain both.
    """

    measure: Callable[[Pairs], Tensor]
    decay: float | None = None


class Strength(Component):
    """A positive number for each pair, in the place of an option of a term: ``beta: {strength: NAME, ...}``."""

    kind: ClassVar[str] = "strength"
    # Whether it reads the margins of a term; then only terms that compare two views with a reference can have it.
    reads_margins: ClassVar[bool] = False

    def columns(self) -> tuple[str, ...]:
        """The names of the data columns that it reads."""
        return ()

    def check_columns(self, pairs: Pairs) -> None:
        """Raise `DataError`, naming ``pairs.ids``, if a value in a column is not valid.

        It is called for every row before training. ``pairs`` contain only columns.
        """
        return

    def means(self) -> Mapping[str, BatchMean]:
        """Means over the pairs of whole steps that it reads, by name: ``pairs.means[name]``."""
        return {}

    @abstractmethod
    def __call__(self, pairs: Pairs) -> Tensor:
        """The number of each pair, ``(batch,)``: finite, above 0, and without a gradient."""

    @property
    def reads_only_columns(self) -> bool:
        """Whether the columns of a row alone decide its number, so that it can be judged before training."""
        return not self.reads_margins and not self.means()


class ColumnStrength(Strength):
    """The number of each pair is in a column of the data: ``beta: {column: NAME}``."""

    column: str = Field(min_length=1, description="the column that has the number of each row")

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, pairs: Pairs) -> Tensor:
        return pairs.columns[self.column]
