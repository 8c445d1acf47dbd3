"""A model answers the questions of a benchmark: the file that `mdpo answer` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mdpo_core.benchmarking.asked import AskedQuestions
from mdpo_core.benchmarking.models import Answerer
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.model import Decoding
from mdpo_core.listeners import progress_of
from mdpo_core.make_data.journal import Entry, Journal
from mdpo_core.remedies import option
from mdpo_core.storage.files import atomic_write


@dataclass(frozen=True)
class Asking:
    """How a model is asked. ``at_once``: how many questions are answered together, always the same ones."""

    rows: AskedQuestions
    decoding: Decoding
    at_once: int = 8

    def key(self, answerer: Answerer) -> dict[str, Any]:
        """Everything that the answers depend on, as JSON."""
        found: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "command": "answer",
                    "benchmark": self.rows.benchmark.component_name(),
                    "questions": hashlib.sha256(json.dumps(self.rows.questions).encode()).hexdigest(),
                    "pictures": self._digest_of_pictures(),
                    "model": answerer.identity,
                    **self.settings(),
                }
            )
        )
        return found

    def settings(self) -> dict[str, Any]:
        """What stands in every answer."""
        return {**asdict(self.decoding), "suffix": self.rows.suffix, "at_once": self.at_once}

    def _digest_of_pictures(self) -> str:
        total = hashlib.sha256()
        for name in dict.fromkeys(name for asked in self.rows.questions for name in asked.images):
            with (self.rows.images / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()


def answer_questions(asking: Asking, answerer: Answerer, out: Path) -> bool:
    """Write ``out``, a line for each question; false if an earlier call has written it.

    Continues a call that was stopped, and then writes the same bytes. Raises `CheckpointError` if ``out`` was begun
    with other settings, and `RunStopped` after a SIGTERM or SIGINT.
    """
    if out.suffix != ".jsonl":
        raise RecipeError(f"{option('--out')} must name a file of JSON lines, which ends in .jsonl, found '{out}'")
    answerer.check(asking.rows[0])
    journal = Journal(out, asking.key(answerer), range(len(asking.rows)), asking.at_once)
    if journal.is_finished():
        journal.close()
        return False

    def answers_to(indices: Sequence[int]) -> list[Entry]:
        return [{"response": text} for text in answerer([asking.rows[index] for index in indices])]

    with journal.filled(answers_to, progress_of("answering")) as entries:
        if entries is not None:
            _write(out, asking, answerer, entries)
        journal.close()
    return entries is not None


def _write(out: Path, asking: Asking, answerer: Answerer, entries: Sequence[Entry]) -> None:
    said: Mapping[str, Any] = {"settings": asking.settings(), "model": answerer.name}
    lines = []
    for asked, entry in zip(asking.rows.questions, entries, strict=True):
        image = asked.images[0] if len(asked.images) == 1 else list(asked.images)
        row = {"id": asked.id, "image": image, "prompt": asked.prompt, "response": entry["response"], **said}
        lines.append(f"{json.dumps(row, ensure_ascii=False)}\n")
    atomic_write(out, "".join(lines).encode())
