"""A model answers the questions of a benchmark: the file that `mdpo answer` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.benchmarking.models import Answerer
from mdpo_core.data.images import read_image
from mdpo_core.errors import DataError, Problem, RecipeError
from mdpo_core.interfaces.benchmark.answers import Question
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.model import Decoding
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.listeners import progress_of
from mdpo_core.make_data.journal import Entry, Journal
from mdpo_core.storage.files import atomic_write
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK, escape_marks

if TYPE_CHECKING:
    from PIL.Image import Image

_FEW = 10  # missing pictures that a message names


@dataclass(frozen=True)
class Asking:
    """How a benchmark's questions are asked.

    ``images``: the folder of its pictures. ``suffix``: what follows every question. ``at_once``: the number of
    questions that are answered together, always the same ones.
    """

    benchmark: Benchmark
    questions: Sequence[Question]
    images: Path
    decoding: Decoding
    suffix: str = ""
    at_once: int = 8

    @classmethod
    def of(cls, benchmark: Benchmark, images: Path, decoding: Decoding, suffix: str = "", at_once: int = 8) -> Asking:
        """Read the questions. Raises `RecipeError` or `DataError` if a file or a picture is missing: all are named."""
        with code_of(benchmark, "read_questions"):
            questions = benchmark.read_questions()
        if not questions:
            raise DataError(f"the benchmark '{benchmark.component_name()}' has no questions in these files")
        require_pictures(questions, images)
        return cls(benchmark, questions, images, decoding, suffix, at_once)

    def example(self, index: int) -> Example:
        """A question with its pictures. Raises `DataError` for a picture that cannot be read."""
        asked = self.questions[index]
        marks = f"{IMAGE_MARK * len(asked.images)}\n" if asked.images else ""
        text = f"{marks}{escape_marks(asked.prompt + self.suffix)}"
        return Example(asked.id, text, {}, tuple(_picture(self.images / name) for name in asked.images))

    def key(self, answerer: Answerer) -> dict[str, Any]:
        """Everything that the answers depend on, as JSON."""
        found: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "command": "answer",
                    "benchmark": self.benchmark.component_name(),
                    "questions": hashlib.sha256(json.dumps(self.questions).encode()).hexdigest(),
                    "pictures": self._digest_of_pictures(),
                    "model": answerer.identity,
                    **self.settings(),
                }
            )
        )
        return found

    def settings(self) -> dict[str, Any]:
        """What stands in every answer."""
        return {**asdict(self.decoding), "suffix": self.suffix, "at_once": self.at_once}

    def _digest_of_pictures(self) -> str:
        total = hashlib.sha256()
        for name in dict.fromkeys(name for asked in self.questions for name in asked.images):
            with (self.images / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()


def answer_questions(asking: Asking, answerer: Answerer, out: Path) -> bool:
    """Write ``out``, a line for each question; false if an earlier call has written it.

    Continues a call that was stopped, and then writes the same bytes. Raises `CheckpointError` if ``out`` was begun
    with other settings, and `RunStopped` after a SIGTERM or SIGINT.
    """
    if out.suffix != ".jsonl":
        raise RecipeError(f"--out must name a file of JSON lines, which ends in .jsonl, found '{out}'")
    answerer.check(asking.example(0))
    journal = Journal(out, asking.key(answerer), range(len(asking.questions)), asking.at_once)
    if journal.is_finished():
        journal.close()
        return False

    def answers_to(indices: Sequence[int]) -> list[Entry]:
        return [{"response": text} for text in answerer([asking.example(index) for index in indices])]

    with journal.filled(answers_to, progress_of("answering")) as entries:
        if entries is not None:
            _write(out, asking, answerer, entries)
        journal.close()
    return entries is not None


def _write(out: Path, asking: Asking, answerer: Answerer, entries: Sequence[Entry]) -> None:
    said: Mapping[str, Any] = {"settings": asking.settings(), "model": answerer.name}
    lines = []
    for asked, entry in zip(asking.questions, entries, strict=True):
        image = asked.images[0] if len(asked.images) == 1 else list(asked.images)
        row = {"id": asked.id, "image": image, "prompt": asked.prompt, "response": entry["response"], **said}
        lines.append(f"{json.dumps(row, ensure_ascii=False)}\n")
    atomic_write(out, "".join(lines).encode())


def require_pictures(questions: Sequence[Question], images: Path) -> None:
    """Raise `DataError` with the pictures that are missing in a folder."""
    if not images.is_dir():
        raise RecipeError(f"--images: there is no folder '{images}'")
    names = dict.fromkeys(name for asked in questions for name in asked.images)
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        named = "".join(f"\n  {name}" for name in missing[:_FEW])
        more = f"\n  and {len(missing) - _FEW:,} more" if len(missing) > _FEW else ""
        raise DataError(f"{images}: {len(missing):,} of {len(names):,} pictures are missing:{named}{more}")


def _picture(path: Path) -> Image:
    try:
        return read_image(path)
    except DataError as error:
        problems = [Problem(path.name, "", f"cannot be read as a picture: {each.message}") for each in error.problems]
        raise DataError(problems) from error
