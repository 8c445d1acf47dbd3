"""`mdpo sweep`: a grid of runs, and then their comparison."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import count

if TYPE_CHECKING:
    from mdpo_core.sweeping.sweep import SweepResult

HELP = "run a recipe with each combination of values of its options"
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


def sweep_recipe(options: argparse.Namespace) -> int:
    """`mdpo sweep`: run what is not finished, and compare what is."""
    from mdpo_core.cli.sweeping.console import Console
    from mdpo_core.storage.run_directory import expanded
    from mdpo_core.sweeping.grid import axes_of, points_of
    from mdpo_core.sweeping.source import Source
    from mdpo_core.sweeping.sweep import run_sweep

    source = Source(str(options.recipe), options.without, list(map(str, options.plugin)))
    with Console(source, options.parallel) as console:
        result = run_sweep(source, points_of(axes_of(options.set)), options.out, options.parallel, console)
        console.summarize(result, _compared(result, expanded(options.out)))
    return 1 if result.failed else 0


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
    return [f"compared in {' and '.join(str(out / f'comparison.{ending}') for ending in _COMPARISON)}"]
