"""A model answers the questions of a benchmark: the file that `mdpo answer` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mdpo_core.benchmarking.ahead import Ahead
from mdpo_core.benchmarking.asked import AskedQuestions
from mdpo_core.benchmarking.models import Answerer
from mdpo_core.benchmarking.server_model import ServerModel
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.model import Decoding
from mdpo_core.listeners import progress_of
from mdpo_core.make_data.journal import Entry, Journal
from mdpo_core.remedies import option
from mdpo_core.storage.files import atomic_write

AnyModel: TypeAlias = Answerer | ServerModel


@dataclass(frozen=True)
class Asking:
    """How a model is asked. ``at_once``: how many questions are answered together, always the same ones."""

    rows: AskedQuestions
    decoding: Decoding
    at_once: int = 8

    def key(self, answerer: AnyModel) -> dict[str, Any]:
        """Everything that the answers depend on, as JSON."""
        found: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "command": "answer",
                    "benchmark": self.rows.benchmark.component_name(),
                    "questions": hashlib.sha256(json.dumps(self.rows.questions).encode()).hexdigest(),
                    "pictures": self._digest_of_pictures(),
                    "model": answerer.identity,
                    **self.settings(answerer),
                }
            )
        )
        return found

    def settings(self, answerer: AnyModel) -> dict[str, Any]:
        """What stands in every answer. How many questions a server gets at once changes none."""
        together = {} if isinstance(answerer, ServerModel) else {"at_once": self.at_once}
        return {**asdict(self.decoding), "suffix": self.rows.suffix, **together}

    def _digest_of_pictures(self) -> str:
        total = hashlib.sha256()
        for name in dict.fromkeys(name for asked in self.rows.questions for name in asked.images):
            with (self.rows.images / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()


def answer_questions(asking: Asking, answerer: AnyModel, out: Path) -> bool:
    """Write ``out``, a line for each question; false if an earlier call has written it.

    Continues a call that was stopped, and then writes the same bytes. Raises `CheckpointError` if ``out`` was begun
    with other settings, and `RunStopped` after a SIGTERM or SIGINT.
    """
    if out.suffix != ".jsonl":
        raise RecipeError(f"{option('--out')} must name a file of JSON lines, which ends in .jsonl, found '{out}'")
    answerer.check(asking.rows[0])
    together = 1 if isinstance(answerer, ServerModel) else asking.at_once
    journal = Journal(out, asking.key(answerer), range(len(asking.rows)), together)
    if journal.is_finished():
        journal.close()
        return False
    with _answers(asking, answerer) as answers_to, journal.filled(answers_to, progress_of("answering")) as entries:
        if entries is not None:
            _write(out, asking, answerer, entries)
        journal.close()
    return entries is not None


@contextmanager
def _answers(asking: Asking, answerer: AnyModel) -> Iterator[Callable[[Sequence[int]], list[Entry]]]:
    """What answers the questions with these numbers."""
    rows = asking.rows
    if not isinstance(answerer, ServerModel):
        yield lambda numbers: [{"response": text} for text in answerer([rows[number] for number in numbers])]
        return
    answer, first = answerer.answer, next((n for n, each in enumerate(rows.questions) if each.images), None)
    with Ahead(lambda number, stop: answer(rows[number], stop), len(rows), asking.at_once) as ahead:

        def answers_to(numbers: Sequence[int]) -> list[Entry]:
            try:
                if first is not None and not ahead.has_begun:
                    answerer.require_pictures(rows[first], ahead.stop)
                return [{"response": ahead(number)} for number in numbers]
            except RecipeError as error:
                kept = f"{numbers[0]:,} of {len(rows):,} answers are kept, and the same call asks for the others alone"
                raise RecipeError(f"{error}; {kept}") from error

        yield answers_to


def _write(out: Path, asking: Asking, answerer: AnyModel, entries: Sequence[Entry]) -> None:
    said: Mapping[str, Any] = {"settings": asking.settings(answerer), "model": answerer.name}
    lines = []
    for asked, entry in zip(asking.rows.questions, entries, strict=True):
        image = asked.images[0] if len(asked.images) == 1 else list(asked.images)
        row = {"id": asked.id, "image": image, "prompt": asked.prompt, "response": entry["response"], **said}
        lines.append(f"{json.dumps(row, ensure_ascii=False)}\n")
    atomic_write(out, "".join(lines).encode())
