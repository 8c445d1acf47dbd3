"""The stages of a run on the terminal: each is named when it begins, and its time is told when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mdpo_core.cli.terminal.lines import clock, stage_line, wrapped
from mdpo_core.processes.stop_request import StopRequest
from mdpo_core.scoring.reference_store import CACHING
from mdpo_core.words.amounts import counted, duration

_QUIET = 60.0  # seconds after which a stage tells again how far it is, where there is no bar


class Terminal(Protocol):
    """What is written to: rich's console."""

    @property
    def width(self) -> int:
        """Its columns now."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it; else it is a file or a pipe."""

    @property
    def encoding(self) -> str:
        """That of its characters."""

    def print(self, *text: Any, soft_wrap: bool | None = None) -> None:
        """Write a line. ``soft_wrap``: leave long lines as they are."""


@dataclass
class _Stage:
    """A stage that has begun: how much of its work was done then, and is now."""

    name: str
    began: float
    first: int
    done: int
    total: int
    told: float
    task: Any = None

    def line(self, width: int, bar: str) -> str:
        return stage_line(self.name, self.done, self.total, time.monotonic() - self.began, self.first, width, bar)


class Stages:
    """Shows the stages that are going on: bars on a terminal, elsewhere lines without any escape codes.

    ``progress``: rich's, whose tasks have a function ``line`` from a width to their text.
    """

    def __init__(self, terminal: Terminal, progress: Any) -> None:
        self.terminal = terminal
        self._bar = "━" if terminal.encoding.startswith("utf") else "="
        self._progress = progress
        self._going: dict[str, _Stage] = {}
        self._line: Any = None

    def start(self) -> None:
        """Begin to draw. Answers to signals stand above the bars from now on."""
        self._progress.start()
        if self.terminal.is_terminal:
            StopRequest.display = self._say

    def stop(self) -> None:
        """Leave nothing on the terminal of stages that are not over."""
        StopRequest.display = None
        self._progress.stop()

    def _say(self, line: str) -> None:
        """Write a line above the bars, in a thread: a signal may have interrupted the terminal within a line."""
        text = wrapped(line, self.terminal.width)
        threading.Thread(target=lambda: self.terminal.print(text, soft_wrap=True), daemon=True).start()

    def going_on(self) -> str:
        """The stage that began last and is not over; empty if there is none."""
        return next(reversed(self._going), "")

    def update(self, name: str, done: int, total: int) -> None:
        """A stage has done so much of its work; it begins with the first call."""
        stage = self._going.get(name)
        if stage is None:
            now = time.monotonic()
            first = done if name == CACHING else 0  # rows of the cache that an earlier run has computed
            stage = self._going[name] = _Stage(name, now, first, done, total, now)
            if self.terminal.is_terminal:
                stage.task = self._progress.add_task(name, line=lambda width: stage.line(width, self._bar))
            elif done < total:
                self.terminal.print(f"{name} ...")
        stage.done, stage.total = done, total
        if not self.terminal.is_terminal and time.monotonic() - stage.told > _QUIET and done < total:
            stage.told = time.monotonic()
            self.terminal.print(f"{name}: {done:,}/{total:,}{_left(stage)}")

    def is_over(self, name: str) -> float | None:
        """End a stage. Returns the seconds that it took; None if it never began."""
        stage = self._going.pop(name, None)
        if stage is None:
            return None
        if stage.task is not None:
            self._progress.remove_task(stage.task)
        return time.monotonic() - stage.began

    def tell(self, name: str) -> None:
        """End a stage, and say how long it took and how much it did."""
        stage = self._going.get(name)
        seconds = self.is_over(name)
        if stage is None or seconds is None:
            return
        worked = stage.done - stage.first
        amount = f"{counted(worked, 'row')} in " if stage.total > 1 and worked else ""
        self.terminal.print(f"{name}: {amount}{duration(seconds)}", soft_wrap=True)

    def show(self, line: Callable[[int], str]) -> None:
        """Show ``line(width)`` on a terminal until the next one."""
        if self._line is None:
            self._line = self._progress.add_task("training", line=line)
        self._progress.update(self._line, line=line)


def _left(stage: _Stage) -> str:
    worked = stage.done - stage.first
    if worked <= 0:
        return ""
    seconds = (time.monotonic() - stage.began) / worked * (stage.total - stage.done)
    return f", {clock(seconds)} left"
