"""Steps with compiled layers beside plain ones: ``python -m benchmarks.compiled_layers``.

Both take turns in one process, on one thread. Prints CPU seconds, which other programs disturb less than wall time, and
what the first compiled step costs more. Needs a minute to compile and some seconds for each step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.speed.contestants import ours
from benchmarks.speed.job import SHAPES, Job
from benchmarks.speed.model import build
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.compilation import compile_layers

PLAIN, COMPILED = "plain", "compiled"


def main(shape: str, steps: int, dropout: float) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), SHAPES[shape], "cpu")
        seconds = measure(Job("", SHAPES[shape], folder, steps), dropout)
    for name, (first, *others) in seconds.items():
        print(f"{name}: {statistics.median(others):.2f} s a step (least {min(others):.2f}), first step {first:.2f}")


def measure(job: Job, dropout: float) -> dict[str, list[float]]:
    """CPU seconds of each step, the first one included."""
    runs = {name: begin(job, name, dropout) for name in (PLAIN, COMPILED)}
    one = runs[PLAIN]
    batch = one.builder.build(one.examples, range(job.shape.num_pairs), epoch=0)
    objective = ours.objective_of(3)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(1 + job.steps):
        for name, run in runs.items():
            started = time.process_time()
            ours.forward_backward(run.engine, objective, batch, step)
            run.engine.step(1e-6)
            seconds[name].append(time.process_time() - started)
    return seconds


def begin(job: Job, name: str, dropout: float) -> ours.Run:
    ours.SWITCHES[name] = ours.Switches(Scoring(compile=name == COMPILED))
    run = ours.begin(Job(name, job.shape, job.folder, job.steps, dropout=dropout))
    if name == COMPILED:
        compile_layers(run.model.layers())
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.0)
    options = parser.parse_args()
    main(options.shape, options.steps, options.dropout)
