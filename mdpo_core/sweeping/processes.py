"""Runs the real `mdpo-run` several times: a few processes at once, each with a log of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from mdpo_core.processes.stop_request import RunStopped, StopRequest
from mdpo_core.sweeping.plan import PlannedRun
from mdpo_core.sweeping.source import Source

_POLL_INTERVAL = 0.05  # seconds
_TIME_TO_SAVE = 600.0  # seconds that a step and a checkpoint may take after a signal
_THREADS = "OMP_NUM_THREADS"
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class EndedRun:
    """A run whose process has ended. ``code``: its exit code, or minus the signal that killed it.

    ``failure``: why it counts as failed, where its log does not say so.
    """

    run: PlannedRun
    code: int
    seconds: float
    failure: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether the model was exported, and the run counts."""
        return self.code == 0 and not self.failure

    def reason(self) -> str:
        """Why it failed, in a few words: the last line of its log."""
        if self.failure:
            return self.failure
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        lines = [line.strip() for line in self.run.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass
class _Going:
    run: PlannedRun
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    began: float = field(default_factory=time.monotonic)


class Processes:
    """Runs that go on at once, at most ``parallel``.

    ``watch()`` is called between two looks at them, as for a display.
    """

    def __init__(self, source: Source, parallel: int, watch: Callable[[], None] = lambda: None) -> None:
        self._source = source
        self._parallel = parallel
        self._watch = watch
        self._going: list[_Going] = []

    @property
    def going(self) -> dict[str, float]:
        """The runs that go on, and for how many seconds."""
        return {each.run.name: time.monotonic() - each.began for each in self._going}

    def all_of(self, runs: Iterator[PlannedRun]) -> Iterator[EndedRun]:
        """Each run as it ends; the next one is taken from ``runs`` when there is room for it.

        A SIGTERM, SIGINT or SIGHUP asks the runs to stop, which save a checkpoint; then `RunStopped` is raised.
        """
        with StopRequest("the step of each run, then saving") as stop:
            try:
                yield from self._ended(runs, stop)
            finally:
                self._stop_all()
        if stop.signum:
            raise RunStopped("stopped", stop.signum)

    def _ended(self, runs: Iterator[PlannedRun], stop: StopRequest) -> Iterator[EndedRun]:
        more = True
        while not stop.signum:
            while more and not stop.signum and len(self._going) < self._parallel:
                run = next(runs, None)
                more = run is not None
                if run is not None:
                    self._begin(run)
            ended = [each for each in self._going if each.process.poll() is not None]
            for each in ended:
                self._going.remove(each)
                yield self._end(each)
            if not self._going and not more:
                return
            if not ended:
                self._watch()
                time.sleep(_POLL_INTERVAL)

    def _begin(self, run: PlannedRun) -> None:
        run.log.parent.mkdir(parents=True, exist_ok=True)
        log = run.log.open("ab")
        command = [sys.executable, "-m", "mdpo_core.cli", "run", *self._source.words(run.point, run.directory.path)]
        # In a new session, a terminal's Ctrl-C reaches the process only once, through this one.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(self._parallel),
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        self._going.append(_Going(run, process, log))

    def _end(self, each: _Going) -> EndedRun:
        each.log.close()
        return EndedRun(each.run, each.process.returncode, time.monotonic() - each.began)

    def _stop_all(self) -> None:
        """Ask all processes to stop, and wait until they have saved; kill those that do not end."""
        for each in self._going:
            each.process.terminate()
        deadline = time.monotonic() + _TIME_TO_SAVE
        while any(each.process.poll() is None for each in self._going):
            if time.monotonic() > deadline:
                for each in self._going:
                    each.process.kill()
            self._watch()
            time.sleep(_POLL_INTERVAL)
        for each in self._going:
            each.log.close()


def _end_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the sweep is killed: a run that went on would keep its directory locked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _environment(parallel: int) -> Mapping[str, str]:
    """Runs that go on at once share the cores, unless the user has said how many threads each has."""
    if parallel == 1 or _THREADS in os.environ:
        return os.environ
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**os.environ, _THREADS: str(max(1, cores // parallel))}
