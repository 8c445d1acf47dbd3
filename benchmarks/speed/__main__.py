"""The three-view step beside the paper's algorithm and TRL: ``python -m benchmarks.speed``.

Needs ``pip install -c constraints.txt -e '.[test,benchmark]'`` and Linux, and a machine with nothing else to do.
``--curves`` also measures how time and memory grow, and draws docs/evidence/performance.png. Prints Markdown; exit code
1 if a bar is missed. For a GPU there is ``python -m benchmarks.gpu``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.speed import bars, curves, table
from benchmarks.speed.job import CONTESTANTS, FASTEST, NUM_TERMS, SHAPES, TERMS, Job, Result, Shape
from benchmarks.speed.processes import Processes

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


def main(options: argparse.Namespace) -> int:
    shape = SHAPES[options.shape]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.workdir) as name:
        processes = Processes(Path(name))
        matrix = processes.matrix(shape)
        versions = {name: version(name) for name in ("torch", "transformers", "peft", "trl")}
        print(table.header(options.shape, matrix.machine, versions, str(date.today()), load, options.steps))
        kept, reached = on_cpu(options, processes, shape, matrix)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": matrix.machine, "versions": versions, **kept}, indent=1))
    return 0 if reached else 1


def on_cpu(options: argparse.Namespace, processes: Processes, shape: Shape, matrix: Result) -> tuple[Any, bool]:
    folder = processes.folder(shape)
    job = Job("", shape, folder, options.steps, count_flops=True)
    results = {name: _told(name, processes.run(replace(job, contestant=name))) for name in options.only}
    extras = {} if FASTEST not in options.only else _extras(processes, replace(job, contestant=FASTEST))
    extras |= _compared(processes, job, options.only)
    # The better of before and after: a machine that was held up once must not flatter us.
    rate = max(filter(None, (matrix.flops_per_second, processes.matrix(shape).flops_per_second)))
    found = bars.cpu_bars(results | extras, rate, shape)
    print(f"\n{table.contestants(results, rate)}\n\n{table.bars(found)}", flush=True)
    kept = {"matrix_rate": rate, "results": _plain(results | extras)}
    if options.curves:
        kept["curves"] = _curves(processes, replace(job, steps=min(options.steps, 2), count_flops=False))
    failed = [name for name, result in (results | extras).items() if result.error is not None]
    return kept, not failed and all(bar.reached for bar in found)


def _compared(processes: Processes, job: Job, names: Sequence[str]) -> dict[str, Result]:
    """First steps of the paper's algorithm and of ours, without dropout, which would draw other masks in each."""
    if "paper" not in names:
        return {}
    first = replace(job, steps=0, count_flops=False, dropout=0.0, gradients=f"{job.folder}-gradients")
    # TRL's loss is another.
    return {f"{name}, compared": processes.run(replace(first, contestant=name)) for name in names if name != "trl"}


def _extras(processes: Processes, job: Job) -> dict[str, Result]:
    terms = replace(job, num_terms=(NUM_TERMS, len(TERMS)), count_flops=False)
    words = job.changed(vocab_size=bars.MORE_WORDS)
    words = replace(words, folder=processes.folder(words.shape), steps=1, count_flops=False, whole_heap=True)
    held = replace(job, steps=1, count_flops=False, whole_heap=True)
    jobs = {
        bars.MORE_TERMS: terms,
        bars.LARGE_VOCABULARY: words,
        bars.HELD: held,
        bars.HELD_WITHOUT_DROPOUT: replace(held, dropout=0.0),
        bars.PAPER_HELD: replace(held, contestant="paper"),
        bars.DROPPING: replace(job, contestant="dropout", steps=max(job.steps, 15)),
        bars.RUN: replace(job, contestant="run", workers=1),
    }
    return {name: _told(name, processes.run(each)) for name, each in jobs.items()}


def _curves(processes: Processes, job: Job) -> list[dict[str, Any]]:
    points = []
    for point in curves.measure(processes, job):
        print(f"{point.contestant}, {point.axis} {point.value}: {point.seconds} {point.note}", file=sys.stderr)
        points.append(dataclasses.asdict(point))
    for axis, title in curves.TITLES.items():
        print(f"\n{table.curve(points, axis, title)}")
    from benchmarks.speed.picture import draw

    draw(points, EVIDENCE / "performance.png")
    return points


def _told(name: str, result: Result) -> Result:
    """On the error stream, for who waits."""
    times: object = {num: [round(seconds, 3) for seconds in found] for num, found in result.seconds.items()}
    if result.data_wait is not None:
        times = result.data_wait
    print(f"{name}: {result.error or times}", file=sys.stderr, flush=True)
    return result


def _plain(results: dict[str, Result]) -> dict[str, Any]:
    return {name: dataclasses.asdict(result) for name, result in results.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="default: small")
    parser.add_argument("--steps", type=int, default=5, help="that are timed")
    parser.add_argument("--curves", action="store_true", help="also grow the sizes")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS, metavar="NAME")
    parser.add_argument("--json", type=Path, help="where all figures are kept")
    parser.add_argument("--workdir", type=Path, help="for model folders; default: the system's")
    options = parser.parse_args()
    # Gradients are compared with those that `paper` leaves.
    options.only = [name for name in CONTESTANTS if name in options.only]
    return options


if __name__ == "__main__":
    sys.exit(main(parse()))
