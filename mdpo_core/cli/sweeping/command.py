"""`mdpo sweep`: a grid of runs, or a search, and then the comparison of the runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import count

if TYPE_CHECKING:
    from mdpo_core.cli.sweeping.console import Console
    from mdpo_core.sweeping.source import Source
    from mdpo_core.sweeping.sweep import SweepResult

HELP = "run a recipe with each combination of values of its options, or search for the best ones"
_COMPARISON = ("html", "md", "csv")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo sweep`."""
    command.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file (YAML), or a name of mdpo recipes")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="values of an option, with commas between them: train.seed=0..2, objective.0.beta=0.1,0.2; or one of all",
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the runs, their logs, and the comparison of them"
    )
    command.add_argument("--parallel", type=count, default=1, metavar="N", help="runs at a time (default: 1)")
    group = command.add_argument_group("search")
    group.add_argument(
        "--search",
        type=count,
        metavar="N",
        help="N runs with values that Optuna chooses, instead of all; --set also takes 0.1..1.0 and 1e-6..1e-4:log",
    )
    goal = group.add_mutually_exclusive_group()
    for name, size in (("--maximize", "large"), ("--minimize", "small")):
        goal.add_argument(name, metavar="METRIC", help=f"what should be {size} at the end: eval/EVALUATOR/METRIC")


def sweep_recipe(options: argparse.Namespace) -> int:
    """`mdpo sweep`: run what is not finished, and compare what is."""
    from mdpo_core.cli.sweeping.console import Console
    from mdpo_core.sweeping.source import Source

    source = Source(str(options.recipe), options.without, list(map(str, options.plugin)))
    with Console(source, options.parallel) as console:
        if options.search is None:
            return _sweep_over_grid(options, source, console)
        return _search(options, source, console)


def _sweep_over_grid(options: argparse.Namespace, source: Source, console: Console) -> int:
    from mdpo_core.errors import RecipeError
    from mdpo_core.storage.run_directory import expanded
    from mdpo_core.sweeping.grid import axes_of, points_of
    from mdpo_core.sweeping.sweep import run_sweep

    for name in ("maximize", "minimize"):
        if getattr(options, name) is not None:
            raise RecipeError(f"--{name} is for a search: add --search N")
    result = run_sweep(source, points_of(axes_of(options.set)), options.out, options.parallel, console)
    console.summarize(result, _compared(result, expanded(options.out)))
    return 1 if result.failed else 0


def _search(options: argparse.Namespace, source: Source, console: Console) -> int:
    """A search; that a run fails is one of its results, unless each one does."""
    from mdpo_core.storage.files import atomic_write
    from mdpo_core.storage.run_directory import expanded
    from mdpo_core.sweeping.search import Search, best_in_words, goal_of, run_search, search_table
    from mdpo_core.sweeping.space import space_of

    goal, out = goal_of(options.maximize, options.minimize), expanded(options.out)
    result = run_search(source, Search(space_of(options.set), goal, options.search), out, options.parallel, console)
    atomic_write(out / "search.md", search_table(result, goal).encode())
    said = [*_compared(result, out), f"all runs, the best first: {out / 'search.md'}", best_in_words(result, goal)]
    if len(result.trials) < options.search:
        said.append("the search ended early: Optuna proposed only values that were there before")
    console.summarize(result, said)
    return 1 if result.best is None else 0


def _compared(result: SweepResult, out: Path) -> Sequence[str]:
    """What to say about the comparison of the finished runs, which is written."""
    from mdpo_core.errors import MdpoError

    if not result.runs:
        return ["no run is finished, so there is nothing to compare"]
    try:
        comparison = result.comparison()
        for ending in _COMPARISON:
            comparison.write(out / f"comparison.{ending}")
    except MdpoError as error:
        return [f"the runs cannot be compared: {error}"]
    *first, last = (str(out / f"comparison.{ending}") for ending in _COMPARISON)
    return [f"the runs are compared in {', '.join(first)} and {last}"]
