"""Terms: the summands of an objective. A loss compares views, an anchor holds one near a level."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.types.scores import Scores
from mdpo_core.types.view import CHOSEN, REJECTED, View, with_prompt

if TYPE_CHECKING:
    from torch import Tensor


class Term(Component):
    """One summand of an objective, called with `Scores`, giving ``(batch,)`` nats, lower is better."""

    needs_reference: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    # True for one whose value of a pair depends on the pairs beside it: micro-batches and processes have a part in it.
    compares_pairs: ClassVar[bool] = False
    weight: float = Field(default=1.0, ge=0, description="factor of this term in the objective")
    label: str | None = Field(
        default=None,
        pattern=r"^[\w:.@-]+$",
        description="the term's name in metrics; default: position and name",
    )

    @abstractmethod
    def views(self) -> tuple[View, ...]:
        """The views that this term reads."""

    def columns(self) -> tuple[str, ...]:
        """The data columns that this term reads."""
        return ()

    def check_columns(self, scores: Scores) -> None:
        """Raise `DataError` where values make no sense, naming ``scores.ids``.

        Every row is tried before training, in ``scores`` that hold columns and nothing else.
        """
        return

    def statistics(self) -> Mapping[str, Statistic]:
        """What this term reads of whole distributions, by name: ``scores.statistics[name][view]``, ``(batch, time)``.

        They are computed a few tokens at a time, so that no tensor of all logits is ever held.
        """
        return {}

    def probes(self) -> Mapping[str, Probe]:
        """Modules of this term's own, by name: ``scores.probes[name][view]``, ``(batch, time, outputs)``."""
        return {}

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """What this term reads the running mean of, by name: ``scores.running[name]``, a number.

        Each function gives ``(batch,)``, one value a pair. The mean is over all pairs of all finished steps, in all
        processes; it is 0 in the first step, and checkpoints keep it.
        """
        return {}

    def step_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """As `running_means`, for what moves with the policy: the mean is over the pairs of the last finished step."""
        return {}

    @property
    def means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """Both."""
        return {**self.running_means(), **self.step_means()}

    @property
    def reads_reference(self) -> bool:
        """Whether this term, or what it has computed besides, needs a reference."""
        return (
            self.needs_reference
            or any(each.needs_reference for each in self.statistics().values())
            or any(each.reads == "reference" for each in self.probes().values())
        )

    @abstractmethod
    def __call__(self, scores: Scores) -> Tensor:
        """The loss of each pair, ``(batch,)``, nats, before ``weight``."""


class Loss(Term):
    """A term that compares views."""

    kind: ClassVar[str] = "loss"


class PairLoss(Loss):
    """A loss that prefers one view over another."""

    prefer: View = Field(default=CHOSEN, description="the view to be preferred")
    over: View = Field(default=REJECTED, description="the view it is preferred over")
    scored: Literal["response", "prompt_and_response"] = Field(
        default="response",
        description="what of both views is scored; with the prompt, from the first word behind its images on (JPO)",
    )

    @model_validator(mode="before")
    @classmethod
    def _score_prompts(cls, options: Any) -> Any:
        """``scored`` is short for ``prompt+`` before both views."""
        if not isinstance(options, dict) or options.get("scored") != "prompt_and_response":
            return options
        views = {name: options.get(name, cls.model_fields[name].default) for name in ("prefer", "over")}
        return options | {name: with_prompt(view) for name, view in views.items()}

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over)

    def compares(self, scores: Scores) -> Tensor:
        """Which pairs are compared, ``(batch,)`` bool: those that metrics of rewards are about."""
        return scores.corruptible.new_ones(scores.corruptible.shape)


class Anchor(Term):
    """A term that holds one view near an absolute level."""

    kind: ClassVar[str] = "anchor"
    on: View = Field(default=CHOSEN, description="the view that is held")

    def views(self) -> tuple[View, ...]:
        return (self.on,)
