"""`mdpo compare`: runs side by side, on a page or as a table."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "set runs side by side, or make the report of one"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo compare`."""
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run directory")
    command.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what to write: a page (.html), or the tables as .md or .csv; may be given again (default: print them)",
    )


def compare_runs(options: argparse.Namespace) -> int:
    """`mdpo compare`: print the tables, or write them."""
    from mdpo_core.reporting.comparison import compare

    comparison = compare(options.runs)
    for file in options.out:
        comparison.write(file)
        print(f"written: {file}")  # noqa: T201
    if not options.out:
        print(comparison.markdown(), end="")  # noqa: T201
    return 0
