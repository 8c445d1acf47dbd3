"""The metrics of a run: one line for each logged step."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mdpo_core.errors import CheckpointError
from mdpo_core.storage.files import atomic_write, sync


@dataclass(frozen=True)
class MetricsFile:
    """``metrics.jsonl``: one JSON object a line."""

    path: Path

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the line of a step."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def records(self) -> list[dict[str, float]]:
        """All whole lines; a killed process may have left the last one incomplete.

        Raises `CheckpointError`, with the line, for one that no run has written.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [self._record(number, line) for number, line in enumerate(lines, start=1)]

    def _record(self, number: int, line: bytes) -> dict[str, float]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not _is_record(record):
            raise CheckpointError(f"{self.path}:{number}: a run did not write this line; restore or remove it")
        found: dict[str, float] = record
        return found

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self.path.is_file():
            sync(self.path)

    def truncate(self, step: int) -> None:
        """Forget the steps after ``step``, which a resumed run computes again."""
        kept = [record for record in self.records() if record["step"] <= step]
        atomic_write(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def warn_of_gaps(self, log_every: int, step: int) -> None:
        """Warn of lines that are missing, of the steps up to ``step``; a checkpoint is saved after its lines."""
        logged = {record["step"] for record in self.records()}
        missing = [number for number in range(log_every, step + 1, log_every) if number not in logged]
        if missing:
            logging.getLogger(__name__).warning(
                "%s lacks the lines of %d steps, from step %d to %d; the run continues without them",
                *(self.path, len(missing), missing[0], missing[-1]),
            )

    def evaluations(self) -> dict[int, dict[str, float]]:
        """The evaluations by step."""
        return {
            int(record["step"]): {key: value for key, value in record.items() if key.startswith("eval/")}
            for record in self.records()
            if any(key.startswith("eval/") for key in record)
        }


def _is_record(value: object) -> bool:
    """Whether a line of the metrics holds numbers by name, and a step."""
    if not (isinstance(value, dict) and type(value.get("step")) is int and value["step"] >= 0):
        return False
    return all(type(number) in (int, float) for number in value.values())
