"""What `mdpo sweep` shows: a line for each run that has ended, and those that go on."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console as Terminal

from mdpo_core.cli.terminal.console import bars
from mdpo_core.cli.terminal.lines import clock, wrapped
from mdpo_core.sweeping.processes import EndedRun
from mdpo_core.sweeping.source import Source
from mdpo_core.sweeping.sweep import SweepResult
from mdpo_core.words.amounts import counted, duration


class Console:
    """Hears of a sweep. On a terminal the last line shows the runs that go on, as long as its ``with`` lasts."""

    def __init__(self, source: Source, parallel: int) -> None:
        self._terminal = Terminal(highlight=False, markup=False, emoji=False)
        self._bars = bars(self._terminal)
        self._source = source
        self._parallel = parallel
        self._line = ""
        self._num = 0
        self._took: list[float] = []
        self._failed: list[EndedRun] = []
        self._began = time.monotonic()

    def __enter__(self) -> Console:
        self._bars.add_task("runs", line=lambda width: self._line[:width])
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begins(self, num_runs: int, num_ended: int, num_begun: int, chosen: str = "") -> None:
        """Say how many runs there are, what an earlier call has left, and what is ``chosen`` for each run."""
        self._num = num_runs
        kept = [
            *([counted(num_ended, "has ended", "have ended")] if num_ended else []),
            *([counted(num_begun, "goes on", "go on")] if num_begun else []),
        ]
        self._print(f"{counted(num_runs, 'run')} of {self._source.recipe}{': ' if kept else ''}{', '.join(kept)}")
        if chosen:
            self._print(f"Optuna chooses: {chosen}")

    def ended(self, run: EndedRun, num_left: int, reached: str = "") -> None:
        """Print a line: the run, how long it took, what it ``reached``, and how long the others may take."""
        values = f" ({run.run.point.told})" if run.run.point.told else ""
        name = f"[{self._num - num_left}/{self._num}] {run.run.name}{values}:"
        if not run.is_finished:
            self._failed.append(run)
            self._print(f"{name} failed after {duration(run.seconds)}: {run.reason()}")
            return
        self._took.append(run.seconds)
        what = f", with {reached}" if reached else ""
        self._print(f"{name} finished in {duration(run.seconds)}{what}{self._left(num_left)}")

    def _left(self, num_left: int) -> str:
        if not num_left:
            return ""
        seconds = sum(self._took) / len(self._took) * num_left / min(self._parallel, num_left)
        return f"; about {clock(seconds)} left"

    def goes_on(self, going: Mapping[str, float]) -> None:
        """Show the runs that go on."""
        self._line = "  ".join(f"{name} {clock(seconds)}" for name, seconds in going.items())

    def summarize(self, result: SweepResult, compared: Sequence[str]) -> None:
        """Print what became of the runs, and for each that failed the command to see why."""
        self._line = ""
        took = duration(time.monotonic() - self._began)
        self._print(f"{len(result.runs)} of {counted(self._num, 'run')} finished; this call took {took}")
        for each in self._failed:
            self._print(f"{each.run.name} failed; its log is {each.run.log}")
            words = self._source.words(each.run.point, each.run.directory.path)
            self._terminal.print(f"  to see why: {shlex.join(['mdpo-run', *words])}", soft_wrap=True)
        for line in compared:
            self._print(line)

    def _print(self, line: str) -> None:
        self._terminal.print(wrapped(line, self._terminal.width), soft_wrap=True)
