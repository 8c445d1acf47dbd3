"""Evaluators, and the policy that they measure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from pydantic import Field

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.term import Term
from mdpo_core.types.example import Example, ExampleField


class RunSize(NamedTuple):
    """How much a run computes: its steps, the pairs of a step, the views of a pair, and its image conditions."""

    num_steps: int
    pairs_a_step: int
    num_views: int
    num_conditions: int


class Evaluator(Component):
    """A measurement of the policy at the start, at the end and every ``every`` steps."""

    kind: ClassVar[str] = "evaluator"
    # True if it calls `Policy.metrics`, which scores new examples and so needs a reference model.
    needs_reference: ClassVar[bool] = False
    # True if it measures `Policy.held_out`: a recipe then needs held-out rows. If it scores no other examples, it also
    # works with a cached reference.
    reads_held_out: ClassVar[bool] = False
    every: int | None = Field(default=None, gt=0, description="steps between evaluations; default: start and end only")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        """Names that it reads from the held-out rows besides those of the objective, by field of `Example`."""
        return {}

    def corruptions(self) -> Sequence[Corruption]:
        """The corruptions that it applies to the held-out rows; one row is tried before a model is loaded."""
        return ()

    def read_files(self) -> Mapping[str, str]:
        """SHA-256 of each file that its metrics depend on, as it was read, by path: in the manifest of the run.

        A run resumes only with the same files.
        """
        return {}

    def require_kept(self, folder: Path) -> None:
        """Raise `DataError` if a file that it wrote before training, and reads later, is missing or damaged.

        It is called with the run directory of a run that resumes, before a model is loaded.
        """
        return

    def interval(self, size: RunSize) -> int | None:
        """The steps between evaluations in a run of this size; None: start and end only."""
        return self.every

    def fits(self, size: RunSize) -> bool:
        """Whether a run of this size has time for it; asked only of the probe that a recipe does not name."""
        return True

    @property
    def prefix(self) -> str:
        """What stands before the names of its metrics and its files; two evaluators must not have the same."""
        return ""

    @property
    def reads_sources(self) -> bool:
        """Whether it measures the held-out rows by source, so that they must name their sources."""
        return False

    def measures(self, terms: Mapping[str, Term]) -> Collection[str] | None:
        """The names of all its metrics in a run with these terms, by label; None if it cannot know them before."""
        return None

    @abstractmethod
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        """Metrics by name. It may write images and tables into ``folder``, the run directory."""


class RowLogProb(NamedTuple):
    """The policy's log-prob of a response of a row, in nats, summed over its ``num_tokens`` scored tokens.

    ``source``: see `Example`. ``corruptible``: false if the row has no image that the corruption could change.
    """

    id: str
    source: str
    corruptible: bool
    log_prob: float
    num_tokens: int


@dataclass(frozen=True)
class Sample:
    """What the policy answers to the prompt of a row, for people to read.

    ``words``: those that the answer contains of a list that the evaluator has. ``held_out``: whether the row is not
    trained on.
    """

    row: Example
    answer: str
    words: tuple[str, ...] = ()
    held_out: bool = True


class Policy(Protocol):
    """The policy as an evaluator sees it."""

    @property
    def held_out(self) -> Sequence[Example]:
        """The rows that the recipe holds out of the training; none if it does not.

        With a cached reference, an evaluator gives this whole sequence to `metrics`, and no other examples.
        """

    @property
    def trained_on(self) -> Sequence[Example]:
        """The rows that are trained on; of a stream, those of its first block. Not all of them may be readable."""

    @property
    def conditions(self) -> Mapping[str, Corruption]:
        """The corruptions under which the terms of the recipe read answers, by the name of the image condition."""

    @property
    def size(self) -> RunSize:
        """How much the run computes."""

    def log_probs(
        self, examples: Sequence[Example], response: str = "chosen", corruption: Corruption | None = None
    ) -> list[RowLogProb]:
        """The log-prob of a response of each example, whose images ``corruption`` changes; needs no reference.

        It may be a corruption that the recipe does not have. Corruptions also take other rows from ``examples``; those
        of the recipe also from rows that are trained on. Raises `DataError` in every process if a row is not sound.
        """

    def log_probs_of(
        self, examples: Sequence[Example], responses: Sequence[str], corruption: Corruption | None = None
    ) -> dict[str, list[RowLogProb]]:
        """The same of several responses by name, for which each prompt and picture is read once."""

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        """Responses to the examples' prompts: greedy at temperature 0, else sampled with the run's seed.

        A response goes on from the beginning of the answer, `Example.begun`, where a row has one, and ends with its
        first sentence where the answer is ``unfinished``.
        """

    def answer(self, questions: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Greedy answers to questions as a person asks them: bare ones are put into the model's chat template."""

    def metrics(self, examples: Sequence[Example], *, by_source: bool = False) -> dict[str, float]:
        """The objective and its metrics (as in metrics.jsonl) on examples, without gradients.

        ``by_source``: also each metric by `Example.source`, as ``metric/source``.

        Only for evaluators with ``needs_reference``.
        """

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        """Write these into ``samples.jsonl`` and to the trackers, once the evaluation is complete."""
