"""Run the study and write its page: ``python -m benchmarks.study [--worlds digits] [--seeds 0 1 2] [--only table2]``.

Finished runs stay, and a run that was stopped goes on: start the command again. ``--page`` makes the page again from
the numbers that are there, without a run. ``--quick`` rehearses everything with a few steps.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.study.gathering import gathered
from benchmarks.study.numbers import load, save
from benchmarks.study.publishing import publish
from benchmarks.study.running import Task, run_all
from benchmarks.study.variants import TABLES, VARIANTS
from benchmarks.study.worlds import ROOT, WORLDS
from mdpo_core import MdpoError
from mdpo_core.cli.arguments import count


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse_args(words)
    name = "study-quick" if given.quick else "study"
    runs = given.runs or ROOT / "runs" / name
    out = given.out or (runs / "page" if given.quick else ROOT / "docs" / "evidence")
    began = time.monotonic()
    try:
        if not given.page:
            run_all(tasks_of(given, runs), given.parallel, _say)
            _say(f"all runs are there, after {(time.monotonic() - began) / 60:.1f} minutes")
            _gather(given, runs, out)
        publish(out)
    except MdpoError as error:
        _say(str(error))
        return 1
    _say(f"the page is {out / 'study.md'}")
    return 0


def tasks_of(given: argparse.Namespace, runs: Path) -> list[Task]:
    """What was asked for, seed by seed."""
    names = dict.fromkeys(name for table in given.only for name in TABLES[table])
    return [
        Task(WORLDS[world], VARIANTS[name], seed, runs, given.quick)
        for world in given.worlds
        for seed in given.seeds
        for name in names
    ]


def _gather(given: argparse.Namespace, runs: Path, out: Path) -> None:
    """Write the numbers of the worlds that were run, with every table whose runs are there; other worlds stay."""
    numbers = load(out / "study.json")
    for world in map(WORLDS.__getitem__, given.worlds):
        tasks = [Task(world, variant, seed, runs, given.quick) for variant in VARIANTS.values() for seed in given.seeds]
        numbers[world.name] = gathered([task for task in tasks if task.is_finished()])
    save(out / "study.json", {name: numbers[name] for name in WORLDS if name in numbers})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), help="these tables; default: all")
    parser.add_argument(
        "--parallel", type=count, default=2, metavar="N", help="runs at once, a thread each; default: 2"
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where runs are kept; default: runs/study")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the page is written; default: docs/evidence")
    parser.add_argument("--page", action="store_true", help="only write the page again, from the numbers there")
    parser.add_argument("--quick", action="store_true", help="a rehearsal with a few steps, in runs/study-quick")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
