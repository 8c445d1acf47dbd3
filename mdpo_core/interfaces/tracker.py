"""Trackers and their open logs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from mdpo_core.interfaces.component import Component


class Tracker(Component):
    """A place that metrics are sent to, besides ``metrics.jsonl``."""

    kind: ClassVar[str] = "tracker"

    @abstractmethod
    def start(self, folder: Path) -> TrackerLog:
        """Begin to log, or go on after a resume; files go into ``folder``, the run directory."""


class TrackerLog(Protocol):
    """An open log."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step, among them ``epoch``."""

    def close(self) -> None:
        """Finish writing."""
