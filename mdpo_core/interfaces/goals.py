"""What a run watches in its evaluations: which model is the best, and when training ends early."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mdpo_core.interfaces.component import Section

_FORM = "a metric of an evaluation is called eval/EVALUATOR/METRIC, for example eval/preference/picture/accuracy"


class Goal(Section):
    """A metric of the evaluations, and whether more or less of it is better."""

    metric: str = Field(description="the metric, as metrics.jsonl calls it: eval/EVALUATOR/METRIC")
    mode: Literal["max", "min"] = Field(default="max", description="max: more is better; min: less is better")

    @field_validator("metric")
    @classmethod
    def _is_of_an_evaluation(cls, metric: str) -> str:
        parts = metric.split("/")
        if len(parts) < 3 or parts[0] != "eval" or not all(parts):
            raise ValueError(_FORM)
        return metric

    @property
    def evaluator(self) -> str:
        """The name of the evaluator that measures it."""
        return self.metric.split("/")[1]

    @property
    def name(self) -> str:
        """The metric's name in its evaluator."""
        return self.metric.split("/", 2)[2]


class KeepBest(Goal):
    """Keep the checkpoint that was best by a metric, and export it as ``best/``."""


class StopEarly(Goal):
    """End training when a metric no longer gets better."""

    patience: int = Field(default=3, gt=0, description="evaluations in a row without a better value that end the run")
    min_delta: float = Field(default=0.0, ge=0, description="a value counts as better only if it differs by more")
