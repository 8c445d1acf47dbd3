"""The lines that a run writes as it goes: metrics of each logged step, answers of its evaluations, and warnings."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.data.pictures.keys import keys_of, keys_of_pictures
from mdpo_core.errors import CheckpointError
from mdpo_core.interfaces.evaluator import Sample
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
        return _lines(self.path, _is_record)

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self.path.is_file():
            sync(self.path)

    def continue_from(self, step: int, log_every: int) -> None:
        """Forget the steps after ``step``, and warn of lines that are missing before it."""
        self.truncate(step)
        self.warn_of_gaps(log_every, step)

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


@dataclass(frozen=True)
class SamplesFile:
    """``samples.jsonl``: an answer of the policy a line, in the order in which they were made."""

    path: Path

    def keep(self, step: int, samples: Sequence[Sample]) -> None:
        """Add the answers of a step, in place of any of this step and later ones, which a killed run may have left."""
        before = [line for line in self.records() if line["step"] < step]
        lines = [*before, *(_sample_line(step, sample) for sample in samples)]
        atomic_write(
            self.path,
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(errors="backslashreplace"),
        )

    def records(self) -> list[dict[str, Any]]:
        """All lines. Raises `CheckpointError`, with the line, for one that no run has written."""
        return _lines(self.path, _is_sample)


@dataclass(frozen=True)
class WarningsFile:
    """``warnings.jsonl``: what was logged as a warning, ``{"text": ...}`` a line."""

    path: Path

    def append(self, text: str) -> None:
        """Add a warning."""
        with self.path.open("ab") as file:
            file.write(_warning_line(text))

    def write(self, texts: Sequence[str]) -> None:
        """Replace the file by these warnings."""
        atomic_write(self.path, b"".join(map(_warning_line, texts)))

    def records(self) -> list[str]:
        """All whole lines. Raises `CheckpointError`, with the line, for one that no run has written."""
        return [line["text"] for line in _lines(self.path, _is_warning)]


def _warning_line(text: str) -> bytes:
    return (json.dumps({"text": text}, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _is_warning(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str)


def _sample_line(step: int, sample: Sample) -> dict[str, Any]:
    row = sample.row
    prompt = (
        row.prompt if isinstance(row.prompt, str) else "\n".join(f"{turn.role}: {turn.text}" for turn in row.prompt)
    )
    return {
        "step": step,
        "id": row.id,
        "held_out": sample.held_out,
        "pictures": [key[1:9].hex() for key in keys_of_pictures(keys_of(row))],
        "prompt": prompt,
        **({"beginning": row.beginning} if row.beginning else {}),
        **{name: row.text(name) for name in ("chosen", "rejected") if name in row.responses},
        "answer": sample.answer,
        "words": list(sample.words),
    }


def _lines(path: Path, is_sound: Callable[[object], bool]) -> list[dict[str, Any]]:
    """The JSON objects of a file's whole lines. Raises `CheckpointError` for a line that is not sound."""
    if not path.is_file():
        return []
    return [_line(path, number, line, is_sound) for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1)]


def _line(path: Path, number: int, line: bytes, is_sound: Callable[[object], bool]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not is_sound(record):
        raise CheckpointError(f"{path}:{number}: a run did not write this line; restore or remove it")
    found: dict[str, Any] = record
    return found


def _is_sample(value: object) -> bool:
    """Whether a line holds an answer, and its step."""
    if not (isinstance(value, dict) and type(value.get("step")) is int):
        return False
    return all(isinstance(value.get(name), str) for name in ("id", "prompt", "answer"))


def _is_record(value: object) -> bool:
    """Whether a line of the metrics holds numbers by name, and a step."""
    if not (isinstance(value, dict) and type(value.get("step")) is int and value["step"] >= 0):
        return False
    return all(type(number) in (int, float) for number in value.values())
