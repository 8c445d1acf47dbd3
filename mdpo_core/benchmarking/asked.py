"""A benchmark's questions as rows that a model can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.data.pictures.images import read_image
from mdpo_core.errors import DataError, Problem, RecipeError, absent
from mdpo_core.interfaces.benchmark.answers import Question
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK, escape_marks
from mdpo_core.types.rows import LazyRows
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from PIL.Image import Image

_FEW = 10  # missing pictures that a message names


@dataclass(frozen=True)
class AskedQuestions(LazyRows):
    """The questions of a benchmark with their pictures, which are read when a row is.

    ``images``: the folder of the pictures. ``suffix``: what follows every question.
    """

    benchmark: Benchmark
    questions: Sequence[Question]
    images: Path
    suffix: str = ""

    @classmethod
    def of(cls, benchmark: Benchmark, images: Path, suffix: str = "") -> AskedQuestions:
        """Read the questions. Raises `RecipeError` or `DataError` if a file or a picture is missing: all are named."""
        with code_of(benchmark, "read_questions"):
            questions = benchmark.read_questions()
        if not questions:
            raise DataError(f"the benchmark '{benchmark.component_name()}' has no questions in these files")
        require_pictures(questions, images)
        return cls(benchmark, questions, images, suffix)

    def __len__(self) -> int:
        return len(self.questions)

    def row(self, number: int) -> Example:
        asked = self.questions[number]
        marks = f"{IMAGE_MARK * len(asked.images)}\n" if asked.images else ""
        text = f"{marks}{escape_marks(asked.prompt + self.suffix)}"
        return Example(asked.id, text, {}, tuple(self._picture(name) for name in asked.images))

    def _picture(self, name: str) -> Image:
        try:
            return read_image(self.images / name)
        except DataError as error:
            told = [Problem(name, "", f"cannot be read as a picture: {each.message}") for each in error.problems]
            raise DataError(told) from error


def require_pictures(questions: Sequence[Question], images: Path) -> None:
    """Raise `DataError` with the pictures that are missing in a folder."""
    names = dict.fromkeys(name for asked in questions for name in asked.images)
    if names and not images.is_dir():
        raise RecipeError(f"the benchmark's pictures: {absent(images, 'folder')}")
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        named = "".join(f"\n  {name}" for name in missing[:_FEW])
        more = f"\n  and {len(missing) - _FEW:,} more" if len(missing) > _FEW else ""
        raise DataError(f"{images}: {len(missing):,} of {counted(len(names), 'picture')} {are} missing:{named}{more}")
