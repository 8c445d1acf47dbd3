"""`sweep`: a grid of runs, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mdpo_core.errors import RecipeError
from mdpo_core.processes.stop_request import RunStopped
from mdpo_core.processes.world import current_world
from mdpo_core.reporting.comparison import Comparison, compare
from mdpo_core.storage.run_directory import expanded
from mdpo_core.sweeping.grid import Point, axes_of, points_of
from mdpo_core.sweeping.plan import PlannedRun, State, planned
from mdpo_core.sweeping.processes import EndedRun, Processes
from mdpo_core.sweeping.source import Source
from mdpo_core.sweeping.trials import Trial
from mdpo_core.words.amounts import counted


class Progress(Protocol):
    """Who is told how far a sweep is."""

    def begins(self, num_runs: int, num_ended: int, num_begun: int, chosen: str = "") -> None:
        """Some runs ended in earlier calls, and others began. ``chosen``: what a search may choose."""

    def ended(self, run: EndedRun, num_left: int, reached: str = "") -> None:
        """A run has ended; ``num_left`` have not. ``reached``: in words what it reached, in a search."""

    def goes_on(self, going: Mapping[str, float]) -> None:
        """The runs that go on, with the seconds since each of them began."""


class Silent:
    """Tells nobody."""

    def begins(self, num_runs: int, num_ended: int, num_begun: int, chosen: str = "") -> None:
        """Do nothing."""

    def ended(self, run: EndedRun, num_left: int, reached: str = "") -> None:
        """Do nothing."""

    def goes_on(self, going: Mapping[str, float]) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class SweepResult:
    """What became of the runs of a sweep.

    ``runs``: the directories of the finished ones by name, in the order of the grid, or of a search the best first.
    ``failed``: the logs of the others, by name. ``trials``: of a search, what it chose and what each run reached, in
    the same order, and then those that failed.
    """

    runs: Mapping[str, Path]
    failed: Mapping[str, Path]
    trials: Sequence[Trial] = ()

    @property
    def best(self) -> Trial | None:
        """The best trial of a search; None if each one failed, and of a grid, which looks for none."""
        return self.trials[0] if self.trials and self.trials[0].value is not None else None

    def comparison(self) -> Comparison:
        """The finished runs side by side, with means over seeds; see `compare`, which also says what it raises."""
        return compare(list(self.runs.values()))


def sweep(
    recipe: str | Path,
    values: Mapping[str, Any] | Iterable[str],
    *,
    out: str | Path,
    parallel: int = 1,
    plugins: Sequence[str | Path] = (),
) -> SweepResult:
    """Run a recipe with each combination of values, each run in a process and in a directory of its own inside ``out``.

    ``recipe``: a file, or the name of one that mdpo ships. ``values``: for each option a value or several,
    ``{"objective.*.beta": [0.1, 0.2], "train.seed": range(3)}``, or texts as after ``--set``. A list that is one value
    stands in another list. ``parallel``: runs at once. ``plugins``: as those of `load_recipe`.

    A finished run is not run again, and one that was begun goes on. A run that fails ends no other. Raises
    `RecipeError` with the problems of every run before the first one begins, and `RunStopped` after a SIGTERM or SIGINT
    in the main thread, when each run has saved a checkpoint.
    """
    if not isinstance(recipe, str | Path):
        raise RecipeError("a sweep starts commands, so its recipe is a file, or the name of one that mdpo ships")
    source = Source(str(recipe), plugins=tuple(map(str, plugins)))
    return run_sweep(source, points_of(axes_of(values)), Path(out), parallel, Silent())


def run_sweep(source: Source, points: Sequence[Point], out: Path, parallel: int, told: Progress) -> SweepResult:
    """Run the points of a grid; see `sweep`."""
    require_alone(parallel)
    runs = planned(source, points, expanded(out))
    left = [run for run in runs if run.state is not State.FINISHED]
    told.begins(len(runs), len(runs) - len(left), sum(run.state is State.BEGUN for run in left))
    failed = {}
    for number, each in enumerate(ended_runs(source, iter(left), len(left), parallel, told), 1):
        told.ended(each, len(left) - number)
        if not each.is_finished:
            failed[each.run.name] = each.run.log
    return SweepResult({run.name: run.directory.path for run in runs if run.name not in failed}, failed)


def require_alone(parallel: int) -> None:
    """Raise `RecipeError` for a number of runs at once that is none, and for one of several processes."""
    if parallel < 1:
        raise RecipeError(f"a sweep has one run at a time, or more; found {parallel}")
    if current_world().size > 1:
        raise RecipeError("a sweep starts its own processes; start it once, without a launcher")


def ended_runs(
    source: Source, runs: Iterator[PlannedRun], num_left: int, parallel: int, told: Progress
) -> Iterator[EndedRun]:
    """Each of ``num_left`` runs as it ends, at most ``parallel`` at once; `RunStopped` says how many had ended."""
    processes = Processes(source, max(1, min(parallel, num_left)), lambda: told.goes_on(processes.going))
    number = 0
    try:
        for number, each in enumerate(processes.all_of(runs), 1):  # noqa: B007
            yield each
    except RunStopped as stopped:
        ended = f"{number} of {counted(num_left, 'run')} had ended"
        said = f"stopped; {ended}, and those that went on keep their newest checkpoint"
        raise RunStopped(said, stopped.signum) from stopped
