"""What all services share: a log that sends each record once, and what a run tells besides its metrics."""

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mdpo_core import PluginError, Sample, TrackerLog
from mdpo_trackers.services.journal import Journal


class ServiceLog(TrackerLog):
    """A `TrackerLog` that sends each record once, also after a resume, and a summary at the end."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder, self._journal = folder, journal

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        evaluations = {name: value for name, value in metrics.items() if name.startswith("eval/")}
        kind = "evaluations" if evaluations else "metrics"
        if not self._journal.has(kind, step):
            # The epoch of a step stands in its metrics, too; there would be two values.
            self.send(step, evaluations or metrics)
            self._journal.note(kind, step)

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        if not self._journal.has("samples", step):
            self.send_samples(step, samples)
            self._journal.note("samples", step)

    def close(self) -> None:
        try:
            self.send_summary(summary_of(self._folder))
        finally:
            self.end()

    @abstractmethod
    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""

    @abstractmethod
    def send_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Send the answers of a step."""

    @abstractmethod
    def send_summary(self, summary: Mapping[str, float]) -> None:
        """Send the evaluations before and after."""

    @abstractmethod
    def end(self) -> None:
        """End the run at the tracker."""


def library(name: str, tracker: str) -> ModuleType:
    """The library of a tracker. Raises `PluginError` with the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise PluginError(f"the tracker '{tracker}' needs {missing}: pip install 'mdpo[{tracker}]'") from error


def reason_of(error: BaseException) -> str:
    """What the system says of a connection that failed, or the first sentence of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().partition("\n")[0].partition(". ")[0]


def recipe_of(folder: Path) -> dict[str, Any]:
    """The recipe of a run with every default; empty if the folder has none."""
    from ruamel.yaml import YAML

    file = folder / "recipe.yaml"
    return dict(YAML(typ="safe").load(file.read_text())) if file.is_file() else {}


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping: ``objective.0.beta``."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    found: dict[str, Any] = {}
    for key, value in pairs:
        place = f"{path}.{key}" if path else str(key)
        found |= flat(value, place) if isinstance(value, Mapping | list) and value else {place: value}
    return found


def summary_of(folder: Path) -> dict[str, float]:
    """The first and the last value of each evaluation: ``before/eval/...`` and ``after/eval/...``."""
    file = folder / "metrics.jsonl"
    # A killed process may have left the last line incomplete.
    lines = file.read_text().split("\n")[:-1] if file.is_file() else []
    records = [json.loads(line) for line in lines]
    evaluations = [record for record in records if any(name.startswith("eval/") for name in record)]
    found: dict[str, float] = {}
    for record in evaluations:
        for name in [name for name in record if name.startswith("eval/")]:
            found.setdefault(f"before/{name}", record[name])
            found[f"after/{name}"] = record[name]
    return found
