"""Trackers, and the logs that they open."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.evaluator import Sample


class Tracker(Component):
    """A place to which metrics are sent, in addition to ``metrics.jsonl``.

    A run calls a tracker in a thread of its own, and never waits for it during the training. Whatever a tracker raises,
    and even if it hangs, the run goes on; only `check` can refuse the run.
    """

    kind: ClassVar[str] = "tracker"

    def check(self) -> None:
        """Import the library. Raise `PluginError` or `RecipeError` if it is missing, or if an option cannot work.

        A run calls it before a model is loaded. It must not connect to anything: a server that is down ends no run.
        """

    @abstractmethod
    def start(self, folder: Path) -> TrackerLog:
        """Open a log, or continue it after a resume. It may write files into ``folder``, the run directory.

        There it finds ``recipe.yaml``, with every default, and ``manifest.json``.
        """

    def shown_by(self, folder: Path) -> str:
        """The command that shows or sends what it has of the run in ``folder``, with real paths, or an address.

        The summary of the run prints it. Empty if there is nothing to show.
        """
        return ""

    def figure(self, folder: Path) -> Any:
        """A matplotlib figure of the metrics in the run directory ``folder``; None if there is nothing to draw.

        `RunResult.plot` asks the tracker ``curves``. A tracker that draws nothing need not implement it.
        """
        return None


class TrackerLog(Protocol):
    """An open log. After a resume, it gets some steps again."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step, by name. ``epoch`` is among them."""

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Record answers of the policy, whose rows have the pictures. A log without this method gets none."""
        return

    def close(self) -> None:
        """Write everything that is still pending, and close the log."""
