"""`search`: runs whose values Optuna chooses by what the runs before have reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdpo_core.errors import RecipeError, first_line
from mdpo_core.interfaces.train_options import Goal
from mdpo_core.recipe.checks.goals import unmeasured, worst_by
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import either
from mdpo_core.reporting.remarks import remarks_on_recipes
from mdpo_core.reporting.table_text import number_text
from mdpo_core.storage.run_directory import RunDirectory, expanded
from mdpo_core.sweeping.grid import Point
from mdpo_core.sweeping.plan import PlannedRun, State, at_points, log_of, planned_run, recipe_of, require_directory
from mdpo_core.sweeping.processes import EndedRun
from mdpo_core.sweeping.source import Source
from mdpo_core.sweeping.space import Space, space_of
from mdpo_core.sweeping.sweep import Progress, Silent, SweepResult, ended_runs, require_alone
from mdpo_core.sweeping.trials import Asked, Trial, Trials, imported, opened, short_number, told_of
from mdpo_core.words.amounts import counted
from mdpo_core.words.tables import markdown_table

_FAILURES = 3  # of the first runs, after which a search stops: the reason is not what it chose


@dataclass(frozen=True)
class Search:
    """How many runs there are in all, what Optuna may choose for them, and what they should reach."""

    space: Space
    goal: Goal
    num_runs: int

    def __str__(self) -> str:
        """What Optuna chooses, in words."""
        return "; ".join(f"{key}: {each}" for key, each in self.space.free.items())


def search(
    recipe: str | Path,
    values: Mapping[str, Any] | Iterable[str],
    *,
    runs: int,
    out: str | Path,
    maximize: str | None = None,
    minimize: str | None = None,
    parallel: int = 1,
    plugins: Sequence[str | Path] = (),
) -> SweepResult:
    """Run a recipe ``runs`` times with values that Optuna chooses, so that a metric becomes large or small.

    ``values``: for each option a `Range`, a sequence to choose from, or one value; or texts as after ``--set``.
    ``maximize`` or ``minimize``: a metric as metrics.jsonl calls it, ``eval/EVALUATOR/METRIC``; that of a run's last
    evaluation counts. ``recipe``, ``out``, ``parallel`` and ``plugins``: as those of `sweep`.

    A search that was stopped goes on with the same call, and with more ``runs`` it gets longer. A run that fails is
    not run again. Raises `RecipeError` before the first run begins if the options, the metric or ``out`` do not fit,
    or Optuna is not installed, and later if the first three runs fail; `RunStopped` as `sweep` does.
    """
    if not isinstance(recipe, str | Path):
        raise RecipeError("a search starts commands, so its recipe is a file, or the name of one that mdpo ships")
    source = Source(str(recipe), plugins=tuple(map(str, plugins)))
    asked = Search(space_of(values), goal_of(maximize, minimize), runs)
    return run_search(source, asked, Path(out), parallel, Silent())


def goal_of(maximize: str | None, minimize: str | None) -> Goal:
    """The goal of a search. Raises `RecipeError` if it has none, has two, or is not the metric of an evaluation."""
    metric = minimize if maximize is None else maximize
    if metric is None or (maximize is not None and minimize is not None):
        asked = either("--maximize METRIC or --minimize METRIC", "maximize=METRIC or minimize=METRIC")
        raise RecipeError(f"a search needs one of {asked}")
    try:
        goal = Goal(metric=metric, mode="min" if maximize is None else "max")
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{_way(maximize is None)} {metric}: {said}") from error
    if worst_by(goal):
        other = _way(not goal.less_is_better)
        raise RecipeError(f"{_way(goal.less_is_better)} {metric} takes {worst_by(goal)} for the best one; use {other}")
    return goal


def _way(less: bool) -> str:
    return either("--minimize", "minimize") if less else either("--maximize", "maximize")


def run_search(source: Source, asked: Search, out: Path, parallel: int, told: Progress) -> SweepResult:
    """Run what Optuna chooses; see `search`."""
    require_alone(parallel)
    if asked.num_runs < 1:
        raise RecipeError(f"a search has one run, or more; found {asked.num_runs}")
    if asked.num_runs > asked.space.size():
        most = counted(int(asked.space.size()), "combination")
        raise RecipeError(f"there are only {most} of these values, but the search has {asked.num_runs} runs")
    require_directory(expanded(out))
    recipe = _checked(source, asked)
    imported()
    with opened(expanded(out), Asked(asked.space, asked.goal, recipe.to_dict())) as trials:
        return _Searching(source, asked, expanded(out), trials, told).result(parallel)


def _checked(source: Source, asked: Search) -> Recipe:
    """One recipe of the search. Raises `RecipeError` if a value does not fit, or if the metric cannot lead it."""
    points = [Point(f"corner-{number}", asked.space.changes(each)) for number, each in enumerate(asked.space.corners())]
    recipes = at_points(points, lambda point: recipe_of(source, point))
    metric = asked.goal.metric
    for recipe in recipes:
        problem = unmeasured(asked.goal, recipe.evaluators, dict(zip(recipe.labels(), recipe.objective, strict=True)))
        if problem:
            raise RecipeError(f"{_way(asked.goal.less_is_better)} {metric}: {problem}")
    for remark in remarks_on_recipes([recipe.to_dict() for recipe in recipes]):
        if remark.concerns(metric):
            raise RecipeError(
                f"{metric} cannot be compared between the runs of this search, so it names no best one: {remark.text}"
            )
    return recipes[0]


class _Searching:
    """A search that goes on."""

    def __init__(self, source: Source, asked: Search, out: Path, trials: Trials, told: Progress) -> None:
        self._source, self._asked, self._out, self._trials, self._told = source, asked, out, trials, told
        self._by_name = {trial.name: trial for trial in trials.all()}
        self._num_runs = max(asked.num_runs, len(self._by_name))
        self._num_ended = sum(trial.has_ended for trial in self._by_name.values())

    def result(self, parallel: int) -> SweepResult:
        """Run what is left."""
        begun = len(self._by_name) - self._num_ended
        self._told.begins(self._num_runs, self._num_ended, begun, str(self._asked))
        left = self._num_runs - self._num_ended
        for each in ended_runs(self._source, self._runs(), left, parallel, self._told):
            self._end(each)
        ordered = ranked(self._trials.all(), self._asked.goal)
        return SweepResult(
            {trial.name: self._out / trial.name for trial in ordered if trial.value is not None},
            {
                trial.name: log_of(self._trials.point(trial), self._out)
                for trial in ordered
                if trial.has_ended and trial.value is None
            },
            ordered,
        )

    def _runs(self) -> Iterator[PlannedRun]:
        """The runs that have not ended: first those that were begun, then new ones, each chosen when it is taken."""
        for trial in [trial for trial in self._by_name.values() if not trial.has_ended]:
            yield from self._run(trial)
        while len(self._by_name) < self._num_runs:
            new = self._trials.new()
            if new is None:
                return
            self._by_name[new.name] = new
            yield from self._run(new)

    def _run(self, trial: Trial) -> Iterator[PlannedRun]:
        point = self._trials.point(trial)
        try:
            recipe = recipe_of(self._source, point)
        except RecipeError as error:  # each value fits, but these together do not
            self._end(self._refused(point, first_line(error)))
            return
        run = planned_run(point, recipe, self._out)
        if run.state is State.FINISHED:  # a search was killed before it noted what the run reached
            self._end(EndedRun(run, 0, 0.0))
        else:
            yield run

    def _refused(self, point: Point, reason: str) -> EndedRun:
        log = log_of(point, self._out)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{reason}\n")
        return EndedRun(PlannedRun(point, RunDirectory(self._out / point.name), log, State.NEW), 2, 0.0, reason)

    def _end(self, ended: EndedRun) -> None:
        """Note what a run has reached, and tell it."""
        value = self._reached(ended.run.directory) if ended.is_finished else None
        if value is not None and not math.isfinite(value):
            ended, value = replace(ended, failure=f"{self._asked.goal.metric} is {value} at its end"), None
        self._trials.tell(self._by_name[ended.run.name], value)
        self._num_ended += 1
        reached = "" if value is None else f"{self._asked.goal.metric} {number_text(value)}"
        self._told.ended(ended, self._num_runs - self._num_ended, reached)
        if value is None:
            self._require_any(ended)

    def _require_any(self, failed: EndedRun) -> None:
        """Raise `RecipeError` if the first runs all failed, and more would follow."""
        ended = [trial for trial in self._trials.all() if trial.has_ended]
        if _FAILURES <= len(ended) < self._num_runs and all(trial.value is None for trial in ended):
            raise RecipeError(
                f"the first {len(ended)} runs failed, so the search stops; the last one: {failed.reason()}; mend this, "
                "and start the search again: it goes on with other values"
            )

    def _reached(self, run: RunDirectory) -> float:
        evaluations, metric = run.metrics.evaluations(), self._asked.goal.metric
        last = evaluations[max(evaluations)] if evaluations else {}
        if metric not in last:
            there = ", ".join(last) or "nothing"
            raise RecipeError(
                f"the last evaluation in {run.path} has no {metric}, so the search stops  (it has: {there})"
            )
        return last[metric]


def ranked(trials: Iterable[Trial], goal: Goal) -> list[Trial]:
    """The trials, the best first, and those without a value last."""
    sign = 1 if goal.less_is_better else -1
    return sorted(trials, key=lambda trial: math.inf if trial.value is None else sign * trial.value)


def best_in_words(result: SweepResult, goal: Goal) -> str:
    """The best run of a search, with its values."""
    best = result.best
    if best is None or best.value is None:
        return "no run has a result, so there is no best one"
    reached = f"{goal.metric} {number_text(best.value)}"
    return f"the best run is {result.runs[best.name]}: {reached}, with {told_of(best.chosen)}"


def search_table(result: SweepResult, goal: Goal) -> str:
    """All runs of a search as a table in Markdown, the best first."""
    options = list(dict.fromkeys(key for trial in result.trials for key in trial.chosen))
    rows = [
        (
            trial.name,
            "failed" if trial.value is None else number_text(trial.value),
            *(short_number(trial.chosen[key]) for key in options),
        )
        for trial in result.trials
    ]
    return f"{markdown_table(('run', goal.metric, *options), rows)}\n"
