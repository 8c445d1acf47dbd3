"""Measurements one after the other, each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.job import Job, Result, Shape

WORKER = "benchmarks.speed.worker"
# glibc: every block above 1 MiB is mapped by itself. It costs time, page by page.
WHOLE_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}


class Processes:
    """Runs jobs; keeps model folders, one for each vocabulary, below ``workdir``."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir

    def run(self, job: Job) -> Result:
        """A result with ``error`` if the process failed."""
        given, wanted = self._workdir / "job.json", self._workdir / "result.json"
        given.write_text(json.dumps(dataclasses.asdict(job)))
        wanted.unlink(missing_ok=True)
        changes = {"HF_HOME": str(self._workdir / "hub")} | (WHOLE_HEAP if job.whole_heap else {})
        done = subprocess.run(
            [sys.executable, "-m", WORKER, given, wanted], env=os.environ | changes, capture_output=True, text=True
        )
        if done.returncode < 0:
            return Result(error=f"killed by signal {-done.returncode}")
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return Result(error=done.stderr.strip().splitlines()[-1])
        return Result.from_dict(json.loads(wanted.read_text()))

    def folder(self, shape: Shape) -> str:
        """The folder of a model of this shape; built when it is first asked for."""
        path = self._workdir / f"llava-{shape.vocab_size}"
        if not path.exists():
            built = self.run(Job("folder", shape, str(path), steps=0))
            if built.error is not None:
                raise RuntimeError(f"the model folder was not built: {built.error}")
        return str(path)

    def matrix(self, shape: Shape) -> Result:
        """The rate of the machine's own matrix product."""
        return self.run(Job("matrix", shape, "", steps=0))
