"""`mdpo eval`: a run's model beside the model before training, on the benchmarks of its recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import count

if TYPE_CHECKING:
    from mdpo_core.interfaces.evaluator import Evaluator

HELP = "compare a run with the model before training on benchmarks"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo eval`."""
    command.add_argument("run", type=Path, metavar="RECIPE_OR_RUN", help="a run directory, or the recipe of a run")
    command.add_argument("--batch-size", type=count, default=8, metavar="N", help="questions at a time (default: 8)")
    command.add_argument("--out", type=Path, metavar="DIR", help="where answers and results go (default: RUN/eval)")


def evaluate(options: argparse.Namespace) -> int:
    """`mdpo eval`: answer, score and compare; print a table for each benchmark."""
    from mdpo_core.benchmarking.comparing import evaluate_run, write_table
    from mdpo_core.cli.scoring.console import ProgressShown, print_differences

    run, evaluators = _run_and_evaluators(options.run)
    out = options.out or run / "eval"
    with ProgressShown():
        compared = list(evaluate_run(run, evaluators, out, options.batch_size))
    for each in compared:
        print_differences(each)
    write_table(compared, out / "table.md")
    print(f"answers, results and this table: {out}")  # noqa: T201
    return 0


def _run_and_evaluators(path: Path) -> tuple[Path, Sequence[Evaluator]]:
    """The run directory that a path names, or that the recipe there writes to; and the evaluators of its recipe."""
    from mdpo_core.errors import RecipeError
    from mdpo_core.recipe.loading import load_sections
    from mdpo_core.recipe.shipped import recipe_file
    from mdpo_core.storage.run_directory import RunDirectory, expanded

    if path.is_dir():
        run = RunDirectory(path)
        if not run.recipe.is_file():
            raise RecipeError(f"'{path}' is not a run directory, which has a {run.recipe.name}")
        [evaluators] = load_sections(run.recipe, "evaluators")
        return path, evaluators
    evaluators, output = load_sections(recipe_file(path), "evaluators", "output")
    folder = expanded(Path(output.dir))
    if not folder.is_dir():
        raise RecipeError(f"'{folder}' does not contain a run of this recipe yet; train it with mdpo-run {path}")
    return folder, evaluators
