"""Which model of a run is the best so far, and whether training should end: both follow from the evaluations alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mdpo_core.errors import Problem, RecipeError, suggestion
from mdpo_core.interfaces.train_options import Goal, KeepBest, StopEarly
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.words.amounts import counted


@dataclass
class Progress:
    """The best value of a metric so far, its step, and how many evaluations since were no better."""

    goal: Goal
    min_delta: float = 0.0
    best: float | None = None
    step: int = 0
    since: int = 0

    def add(self, step: int, value: float) -> bool:
        """Take the value after ``step`` steps. Returns whether it is the best so far."""
        sign = -1 if self.goal.less_is_better else 1
        is_better = self.best is None or sign * value > sign * self.best + self.min_delta
        if is_better:
            self.best, self.step, self.since = value, step, 0
        else:
            self.since += 1
        return is_better


@dataclass
class Goals:
    """What a recipe watches. The evaluation before the first step counts for neither: nothing is trained then.

    A resumed run takes the evaluations that it finds in metrics.jsonl again, so that it decides as an unstopped one.
    """

    keep_best: KeepBest | None
    stop_early: StopEarly | None
    _kept: Progress | None = field(init=False, default=None)
    _watched: Progress | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.keep_best is not None:
            self._kept = Progress(self.keep_best)
        if self.stop_early is not None:
            self._watched = Progress(self.stop_early, self.stop_early.min_delta)

    @classmethod
    def of(cls, recipe: Recipe) -> Goals:
        """What this recipe watches."""
        return cls(recipe.output.keep_best, recipe.train.stop_early)

    @property
    def best_step(self) -> int | None:
        """The step whose model is the best so far; None before an evaluation, or without ``output.keep_best``."""
        return None if self._kept is None or self._kept.best is None else self._kept.step

    @property
    def reason_to_stop(self) -> str:
        """Why training should end now, as a sentence; empty if it should go on."""
        watched = self._watched
        if self.stop_early is None or watched is None or watched.best is None:
            return ""
        if watched.since < self.stop_early.patience:
            return ""
        better = "smaller is better" if watched.goal.less_is_better else "larger is better"
        compared = f"{better}; best:"
        if watched.min_delta:  # the best value may have been nearer than that, and so not have counted
            compared = f"{better}, and only by more than {watched.min_delta:g}; compared with"
        value = f"{watched.best:.4g} after step {watched.step}"
        return (
            f"{watched.goal.metric} did not get better in {counted(watched.since, 'evaluation')} ({compared} {value})"
        )

    def judge(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take an evaluation after ``step`` steps. Returns whether its model is the best so far."""
        if step == 0:
            return False
        if self._watched is not None and self._watched.goal.metric in metrics:
            self._watched.add(step, metrics[self._watched.goal.metric])
        if self._kept is None or self._kept.goal.metric not in metrics:
            return False
        return self._kept.add(step, metrics[self._kept.goal.metric])

    def resume(self, evaluations: Mapping[int, Mapping[str, float]], kept: Collection[int]) -> None:
        """Take the evaluations of a stopped run, by step. ``kept``: the steps of its checkpoints.

        A best model whose checkpoint is gone, because the run did not keep it, is not the best any more.
        """
        for step, metrics in sorted(evaluations.items()):
            self.judge(step, metrics)
        if self._kept is not None and self._kept.best is not None and self._kept.step not in kept:
            self._kept = Progress(self._kept.goal)
            for step in sorted(set(evaluations) & set(kept)):
                if self._kept.goal.metric in evaluations[step]:
                    self._kept.add(step, evaluations[step][self._kept.goal.metric])

    def require_measured(self, metrics: Mapping[str, float]) -> None:
        """Raise `RecipeError` if the first evaluation does not measure what the run watches."""
        for place, goal in (("output.keep_best", self.keep_best), ("train.stop_early", self.stop_early)):
            if goal is not None and goal.metric not in metrics:
                measured = [name for name in metrics if name.startswith(f"eval/{goal.evaluator}/")]
                message = (
                    f"'{goal.metric}' is not measured{suggestion(goal.metric, measured)}  "
                    f"(measured: {', '.join(measured) or 'nothing'})"
                )
                raise RecipeError([Problem("", f"{place}.metric", message)])
