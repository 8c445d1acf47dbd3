"""Tasks of the study whose processes only wait: ``python -m support.study_tasks FOLDER`` runs some of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study.running import Task, run_all
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import DIGITS


@dataclass(frozen=True)
class Short(Task):
    """A task whose process writes its number, waits, and writes that it is done."""

    wait: float = 0.3

    def is_finished(self) -> bool:
        return (self.folder / "done").exists()

    def command(self) -> list[str]:
        script = (
            "import os, sys, time, pathlib; folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)\n"
            "(folder / str(os.getpid())).touch(); time.sleep(float(sys.argv[2])); (folder / 'done').touch()"
        )
        return [sys.executable, "-c", script, str(self.folder), str(self.wait)]

    def starts(self) -> list[int]:
        """The numbers of its processes so far."""
        return [int(file.name) for file in self.folder.glob("[0-9]*")]


def short_tasks(runs: Path, number: int, wait: float = 0.3) -> list[Short]:
    """Some of them, with seeds from 0 on."""
    return [Short(DIGITS, VARIANTS["mdpo"], seed, runs, wait=wait) for seed in range(number)]


if __name__ == "__main__":
    run_all(short_tasks(Path(sys.argv[1]), 3, 100), 2, print)
