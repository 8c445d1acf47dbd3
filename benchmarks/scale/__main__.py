"""What each stage sends and keeps, measured, and what large models need, on paper: ``python -m benchmarks.scale``.

Needs ``pip install -c constraints.txt -e '.[test]'`` and Linux; no GPU. Takes up to half an hour on two cores.
``--paper`` measures nothing. Prints the tables of docs/guides/scale.md. Exit code 1 if a figure is not within 2 %
of its formula.

A rank's bytes are counted at its own sockets. What the loopback interface counts, in the JSON, is everybody's: it means
something in a network namespace of one's own (``unshare -n``, then ``ip link set lo up``).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.scale import paper, table
from benchmarks.scale.job import Found, Job
from benchmarks.scale.jobs import all_jobs
from benchmarks.scale.launch import build_model, run_all
from benchmarks.scale.stages import STAGES

Results = list[tuple[Job, list[Found]]]
AT_ONCE = 8  # jobs before their figures are kept


def main(options: argparse.Namespace) -> int:
    print(f"{paper.memory_table()}\n\n{paper.speed_table()}")
    if options.paper:
        return 0
    with tempfile.TemporaryDirectory() as name:
        results = _measure(Path(name), options.only, options.json)
    print(f"\n{table.formulas()}\n\n{table.measured(results)}")
    return 0 if table.all_agree(results) else 1


def _measure(folder: Path, stages: Sequence[str], kept: Path | None) -> Results:
    build_model(folder)
    results: Results = []
    wanted = (job for job in all_jobs(str(folder)) if job.stage in stages)
    for _, group in groupby(wanted, lambda job: job.world):
        jobs = list(group)
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            results += zip(some, run_all(some), strict=True)
            print(f"{len(results)} measured", file=sys.stderr, flush=True)
            if kept is not None:
                kept.write_text(json.dumps(_plain(results), indent=1))
    return results


def _plain(results: Results) -> list[dict[str, object]]:
    return [
        {"job": dataclasses.asdict(job), "found": [dataclasses.asdict(each) for each in found]}
        for job, found in results
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="only what is computed on paper")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--json", type=Path, help="where all figures are kept")
    sys.exit(main(parser.parse_args()))
