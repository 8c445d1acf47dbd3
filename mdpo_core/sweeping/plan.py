"""What a sweep is going to do: every point's recipe is checked, and its directory, before a run begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

from mdpo_core.errors import MdpoError, Problem, RecipeError
from mdpo_core.recipe.loading import load_recipe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.recipe.yaml_document import read_document
from mdpo_core.remedies import option
from mdpo_core.storage.resuming import goes_on
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.sweeping.grid import Point
from mdpo_core.sweeping.source import Source

Made = TypeVar("Made")

_LOGS = "logs"
_MOST_PROBLEMS = 20


class State(Enum):
    """What an earlier call has left of a run."""

    NEW = "new"
    BEGUN = "begun"
    FINISHED = "finished"


@dataclass(frozen=True)
class PlannedRun:
    """A point of a sweep, with its directory and the file of what it prints."""

    point: Point
    directory: RunDirectory
    log: Path
    state: State

    @property
    def name(self) -> str:
        """That of its directory."""
        return self.point.name


def planned(source: Source, points: Sequence[Point], out: Path) -> list[PlannedRun]:
    """The runs of all points, in order.

    Raises `RecipeError` with every problem of every point: of its recipe, and of a directory with another run.
    """
    require_directory(out)
    recipes: dict[str, str] = {}

    def one(point: Point) -> PlannedRun:
        recipe = recipe_of(source, point)
        _require_other(point, recipe, recipes)
        return planned_run(point, recipe, out)

    return at_points(points, one)


def require_directory(out: Path) -> None:
    """Raise `RecipeError` for a file where the directory of a sweep should be."""
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is not a directory; choose another one with {option('--out DIR')}")


def recipe_of(source: Source, point: Point) -> Recipe:
    """The recipe of a point. Raises `RecipeError` with every problem in it."""
    return load_recipe(source.recipe, point.changes, plugins=source.plugins)


def at_points(points: Sequence[Point], make: Callable[[Point], Made]) -> list[Made]:
    """What ``make`` gives for each point. Raises `RecipeError` with the problems of all points."""
    problems: dict[Problem, str] = {}
    found = []
    for point in points:
        try:
            found.append(make(point))
        except RecipeError as error:
            for problem in error.problems or [Problem("", "", str(error))]:
                problems.setdefault(problem, point.name)
    if problems:
        raise RecipeError(_first_of(problems))
    return found


def _first_of(problems: dict[Problem, str]) -> list[Problem]:
    """The first problems. Those of an option name it; the others, the first point that has them."""
    found = list(problems)[:_MOST_PROBLEMS]
    more = len(problems) - len(found)
    return [*found, *([Problem("", "", f"... and {more:,} more problems")] if more else [])]


def _require_other(point: Point, recipe: Recipe, recipes: dict[str, str]) -> None:
    """Two runs of one recipe would be one run, counted twice."""
    options = {name: section for name, section in recipe.to_dict().items() if name != "output"}
    other = recipes.setdefault(json.dumps(options, sort_keys=True), point.name)
    if other != point.name:
        raise RecipeError(f"two points of the grid are the same run: {other} and {point.name}; leave one of them out")


def planned_run(point: Point, recipe: Recipe, out: Path) -> PlannedRun:
    """The run of a point. Raises `RecipeError` if its directory holds something else, or another run."""
    directory = RunDirectory(out / point.name, recipe.output.keep)
    return PlannedRun(point, directory, log_of(point, out), _state_of(directory, recipe))


def log_of(point: Point, out: Path) -> Path:
    """The file of what a run prints."""
    return out / _LOGS / f"{point.name}.log"


def _state_of(directory: RunDirectory, recipe: Recipe) -> State:
    """Raises `RecipeError` if the directory holds something else, or a run with other options."""
    try:
        directory.claim(recipe, resume=True)
        if not directory.recipe.is_file():
            return State.NEW
        _require_not_longer(directory, recipe)
        return State.FINISHED if directory.is_finished(recipe) else State.BEGUN
    except MdpoError as error:
        raise RecipeError(str(error)) from error


def _require_not_longer(directory: RunDirectory, recipe: Recipe) -> None:
    grown = goes_on(read_document(directory.recipe).data, recipe)
    if grown:
        raise RecipeError(
            f"{directory.path} holds a run with a smaller {' and '.join(grown)}; a run that goes on from it is not one "
            f"that was as long from the start: choose another directory with {option('--out DIR')}"
        )
