"""Terms: the summands of an objective. A loss compares views; an anchor keeps one view near a level."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.strengths.by_row import ByRow, options_by_row, stand_ins, strengths_of
from mdpo_core.interfaces.strengths.strength import Strength
from mdpo_core.types.scores import Scores
from mdpo_core.types.view import CHOSEN, REJECTED, View, with_prompt

if TYPE_CHECKING:
    from torch import Tensor


class Term(Component):
    """One summand of an objective: it maps `Scores` to a loss for each pair, ``(batch,)``, nats, lower is better."""

    # Whether it reads log-probs of the reference.
    needs_reference: ClassVar[bool] = True
    # Whether it reads the log-probs and ids of single tokens.
    needs_tokens: ClassVar[bool] = False
    # True if the value of a pair depends on the other pairs, so the result depends on how the batch is split.
    compares_pairs: ClassVar[bool] = False
    weight: ByRow = Field(default=1.0, ge=0, description="factor of this term in the objective")
    label: str | None = Field(
        default=None,
        pattern=r"^[\w:.@-]+$",
        max_length=100,
        description="the term's name in metrics; default: position and name",
    )

    @classmethod
    def of(cls, **options: Any) -> Self:
        """A term from its options; a strength may stand in the place of those that may differ by row."""
        differing = options_by_row(cls)
        found = {name: each for name, each in options.items() if isinstance(each, Strength) and name in differing}
        return cls(**{**options, **stand_ins(cls, found)}).with_by_row(found)

    def strengths(self) -> Mapping[str, Strength]:
        """What takes the place of options that differ by row, by their names."""
        return strengths_of(self)

    def with_by_row(self, values: Mapping[str, Strength | Tensor | float]) -> Self:
        """The term with other values of options that may differ by row; a tensor has one for each pair."""
        return self.model_copy(update=dict(values)) if values else self

    @abstractmethod
    def views(self) -> tuple[View, ...]:
        """The views that this term reads."""

    def columns(self) -> tuple[str, ...]:
        """The names of the data columns that this term reads."""
        return ()

    def number_columns(self) -> tuple[str, ...]:
        """Those of `columns` where true and false are refused before training, since they hardly mean 1 and 0."""
        return ()

    def check_columns(self, scores: Scores) -> None:
        """Raise `DataError`, naming ``scores.ids``, if a value in a column is not valid.

        It is called for every row before training. ``scores`` contain only columns.
        """
        return

    def statistics(self) -> Mapping[str, Statistic]:
        """Statistics of whole distributions, by name. They become ``scores.statistics[name][view]``, ``(batch, time)``.

        They are computed for a few tokens at a time, so memory never holds all logits.
        """
        return {}

    def probes(self) -> Mapping[str, Probe]:
        """Modules that train with this term, by name: ``scores.probes[name][view]``, ``(batch, time, outputs)``."""
        return {}

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """Functions whose running mean this term reads, by name: ``scores.running[name]``, a number.

        Each function returns ``(batch,)``, one value a pair. The mean is over all pairs of all finished steps, in all
        processes. It is 0 in the first step. Checkpoints contain it.
        """
        return {}

    def step_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """Like `running_means`, but the mean is only over the pairs of the last finished step."""
        return {}

    @property
    def means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """Running means and step means together."""
        return {**self.running_means(), **self.step_means()}

    @property
    def reads_reference(self) -> bool:
        """Whether this term, one of its statistics or one of its probes needs a reference."""
        return (
            self.needs_reference
            or any(statistic.needs_reference for statistic in self.statistics().values())
            or any(probe.reads == "reference" for probe in self.probes().values())
        )

    @abstractmethod
    def __call__(self, scores: Scores) -> Tensor:
        """The loss of each pair, ``(batch,)``, nats, before ``weight``."""


class Loss(Term):
    """A term that compares views."""

    kind: ClassVar[str] = "loss"


class PairLoss(Loss):
    """A loss that prefers one view over another."""

    prefer: View = Field(default=CHOSEN, description="the preferred view")
    over: View = Field(default=REJECTED, description="the dispreferred view")
    scored: Literal["response", "prompt_and_response"] = Field(
        default="response",
        description="what is scored in both views; with the prompt: from the first word after its images (JPO)",
    )

    @model_validator(mode="before")
    @classmethod
    def _score_prompts(cls, options: Any) -> Any:
        """Put ``prompt+`` before both views if ``scored`` includes the prompt."""
        if not isinstance(options, dict) or options.get("scored") != "prompt_and_response":
            return options
        views = {name: options.get(name, cls.model_fields[name].default) for name in ("prefer", "over")}
        return options | {name: with_prompt(view) for name, view in views.items()}

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over)

    def compares(self, scores: Scores) -> Tensor:
        """Which pairs this loss compares, ``(batch,)`` bool. The metrics of rewards count only these."""
        return scores.corruptible.new_ones(scores.corruptible.shape)


class Anchor(Term):
    """A term that keeps one view near an absolute level."""

    kind: ClassVar[str] = "anchor"
    on: View = Field(default=CHOSEN, description="the view that is kept near a level")

    def views(self) -> tuple[View, ...]:
        return (self.on,)
