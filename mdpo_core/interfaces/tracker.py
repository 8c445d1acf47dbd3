"""Trackers, and the logs that they open."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from mdpo_core.interfaces.component import Component


class Tracker(Component):
    """A place to which metrics are sent, in addition to ``metrics.jsonl``."""

    kind: ClassVar[str] = "tracker"

    @abstractmethod
    def start(self, folder: Path) -> TrackerLog:
        """Open a log, or continue it after a resume. It may write files into ``folder``, the run directory."""


class TrackerLog(Protocol):
    """An open log."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step, by name. ``epoch`` is among them."""

    def close(self) -> None:
        """Write everything that is still pending, and close the log."""
