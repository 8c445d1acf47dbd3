"""Evaluators, and the policy that they measure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import Field

from mdpo_core.interfaces.component import Component
from mdpo_core.types.example import Example


class Evaluator(Component):
    """A measurement of the policy at the start, at the end and every ``every`` steps."""

    kind: ClassVar[str] = "evaluator"
    # True if it calls `Policy.metrics`, which scores new examples and so needs a reference model.
    needs_reference: ClassVar[bool] = False
    every: int | None = Field(default=None, gt=0, description="steps between evaluations; default: start and end only")

    @abstractmethod
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        """Metrics by name. It may write images and tables into ``folder``, the run directory."""


class Policy(Protocol):
    """The policy as an evaluator sees it."""

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        """Responses to the examples' prompts: greedy at temperature 0, else sampled with the run's seed."""

    def metrics(self, examples: Sequence[Example], *, by_source: bool = False) -> dict[str, float]:
        """The objective and its metrics (as in metrics.jsonl) on examples, without gradients.

        ``by_source``: also each metric by `Example.source`, as ``metric/source``.

        Only for evaluators with ``needs_reference``.
        """
