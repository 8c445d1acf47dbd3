"""Run the variants as a sweep does: each in a process of its own; finished runs stay, and begun ones go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study.variants import Variant
from benchmarks.study.worlds import ROOT, World
from mdpo_core import MdpoError, Recipe, load_recipe
from mdpo_core.sweeping.grid import Point
from mdpo_core.sweeping.plan import PlannedRun, State, planned
from mdpo_core.sweeping.processes import EndedRun, Processes
from mdpo_core.sweeping.source import Source


class StudyError(MdpoError):
    """A run failed."""


@dataclass(frozen=True)
class Task:
    """A run: a variant in a world with a seed, which draws the pairs and their order."""

    world: World
    variant: Variant
    seed: int
    runs: Path
    quick: bool = False

    @property
    def folder(self) -> Path:
        """Its run directory."""
        return self.runs / self.point().name

    def common(self) -> list[str]:
        """What all runs of the world change of its recipe, as values of ``--set``."""
        return [*self.world.options, *(self.world.quick if self.quick else ())]

    def point(self) -> Point:
        """Its name, and all that it changes of the world's recipe."""
        seeds = [f"train.seed={self.seed}", f"data.seed={self.seed}"]
        changes = [*self.common(), *self.variant.options(), *seeds]
        return Point(f"{self.world.name}-{self.variant.name}-{self.seed}", changes)

    def source(self) -> Source:
        """The recipe that it changes."""
        return Source(str(ROOT / self.world.recipe))

    def recipe(self) -> Recipe:
        """Its recipe."""
        return load_recipe(self.source().recipe, self.point().changes)

    def is_finished(self) -> bool:
        """Whether the run is complete. Raises `RecipeError` if its directory holds a run with other settings."""
        [found] = planned(self.source(), [self.point()], self.runs)
        return found.state is State.FINISHED

    def took(self) -> float:
        """The seconds of its processes so far."""
        return _seconds(self.runs, self.point().name)


def run_all(tasks: Sequence[Task], at_once: int, say: Callable[[str], None]) -> None:
    """Run what is not finished, world by world, ``at_once`` at a time.

    Raises `StudyError` when a run fails, and `RunStopped` after a signal; both end the other processes.
    """
    for world in dict.fromkeys(task.world for task in tasks):
        here = [task for task in tasks if task.world is world]
        run_points(here[0].source(), [task.point() for task in here], here[0].runs, at_once, say)


def run_points(source: Source, points: Sequence[Point], runs: Path, at_once: int, say: Callable[[str], None]) -> None:
    """The same for the points of one recipe."""
    found = planned(source, points, runs)
    left = [run for run in found if run.state is not State.FINISHED]
    say(f"{len(found) - len(left)} of {len(found)} runs are finished")
    processes = Processes(source, at_once)
    try:
        with closing(_ended(processes, left)) as ended:
            for number, each in enumerate(ended, 1):
                _add_seconds(runs, each.run.name, each.seconds)
                if not each.is_finished:
                    raise StudyError(f"{each.run.name} failed: {each.reason()}; all it said is in {each.run.log}")
                say(f"{each.run.name}: done after {each.seconds:.0f} s; {len(left) - number} to go")
    finally:
        for name, seconds in processes.going.items():
            _add_seconds(runs, name, seconds)


def _ended(processes: Processes, left: Iterable[PlannedRun]) -> Generator[EndedRun, None, None]:
    """A generator that can be closed, which ends the processes."""
    yield from processes.all_of(iter(left))


def _seconds(runs: Path, name: str) -> float:
    file = runs / "seconds" / name
    return float(file.read_text()) if file.is_file() else 0.0


def _add_seconds(runs: Path, name: str, seconds: float) -> None:
    """A run that was stopped and resumed takes the time of all its processes."""
    (runs / "seconds").mkdir(exist_ok=True)
    (runs / "seconds" / name).write_text(f"{_seconds(runs, name) + seconds:.1f}\n")
