"""Run the variants, some at a time, each in a process of its own; finished runs stay, begun ones are resumed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study.variants import Variant
from benchmarks.study.worlds import ROOT, World
from mdpo_core import MdpoError, Recipe, RecipeError, load_recipe
from mdpo_core.storage.run_directory import RunDirectory

_PAUSE = 0.2  # seconds between two looks at the processes
_LAST_LINES = 20
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class StudyError(MdpoError):
    """A run failed, or its directory holds a run with other settings."""


@dataclass(frozen=True)
class Task:
    """A run: a variant in a world with a seed, which draws the pairs and their order."""

    world: World
    variant: Variant
    seed: int
    runs: Path
    quick: bool = False

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.world.name}-{self.variant.name}-{self.seed}"

    @property
    def folder(self) -> Path:
        """Its run directory."""
        return self.runs / self.name

    @property
    def clock(self) -> Path:
        """The file that holds the time of its processes."""
        return self.runs / f"{self.name}.seconds"

    def took(self) -> float:
        """The seconds of its processes so far."""
        return float(self.clock.read_text()) if self.clock.is_file() else 0.0

    def options(self) -> list[str]:
        """What it changes of the world's recipe, as values of ``--set``."""
        return [*self.common(), *self.variant.options(), f"train.seed={self.seed}", f"data.seed={self.seed}"]

    def common(self) -> list[str]:
        """What all runs of the world change of its recipe."""
        return [*self.world.options, *(self.world.quick if self.quick else ())]

    def recipe(self) -> Recipe:
        """Its recipe."""
        return load_recipe(ROOT / self.world.recipe, self.options())

    def command(self) -> list[str]:
        """``mdpo-run`` with its options; it resumes what has begun."""
        changed = [word for option in self.options() for word in ("--set", option)]
        where = ["--run-dir", str(self.folder), "--resume"]
        return [sys.executable, "-m", "mdpo_core.cli", "run", str(ROOT / self.world.recipe), *where, *changed]

    def is_finished(self) -> bool:
        """Whether the run is complete. Raises `StudyError` if its directory holds a run with other settings."""
        recipe, directory = self.recipe(), RunDirectory(self.folder)
        try:
            directory.claim(recipe, resume=True)
        except RecipeError as error:
            found = "\n".join(str(error).split("\n")[1:])
            raise StudyError(f"{self.folder} holds a run with other settings; remove it\n{found}") from error
        return directory.is_finished(recipe)


def run_all(tasks: Sequence[Task], at_once: int, say: Callable[[str], None]) -> None:
    """Run what is not finished, ``at_once`` at a time; a signal or an error ends the processes.

    Raises `StudyError` with the last lines of a run that fails.
    """
    waiting = [task for task in tasks if not task.is_finished()]
    say(f"{len(tasks) - len(waiting)} of {len(tasks)} runs are finished")
    running: dict[Task, _Started] = {}
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.pop(0)
                running[task] = _Started(task)
            for task in [each for each, started in running.items() if started.process.poll() is not None]:
                running.pop(task).finish()
                say(f"{task.name}: done; {len(waiting) + len(running)} to go")
            time.sleep(_PAUSE)
    finally:
        for started in running.values():
            started.stop()
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


class _Started:
    """The process of a task, whose output goes to a log beside the run directory."""

    def __init__(self, task: Task) -> None:
        self.task, self.log, self.began = task, task.runs / f"{task.name}.log", time.monotonic()
        task.runs.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                task.command(),
                cwd=ROOT,
                env={**os.environ, **threads},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def finish(self) -> None:
        self._add_time()
        if self.process.returncode:
            last = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            raise StudyError("\n  ".join([f"{self.task.name} failed; all it said is in {self.log}", *last]))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._add_time()

    def _add_time(self) -> None:
        """A run that was stopped and resumed takes the time of both processes."""
        self.task.clock.write_text(f"{self.task.took() + time.monotonic() - self.began:.1f}\n")


def _die_with_parent() -> None:
    """A killed study leaves no process behind, which would hold the lock of its run directory."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
