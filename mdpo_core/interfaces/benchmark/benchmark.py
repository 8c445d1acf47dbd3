"""The base class of benchmarks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from mdpo_core.errors import RecipeError, absent
from mdpo_core.interfaces.benchmark.answers import Answer, AnswerNames, Question
from mdpo_core.interfaces.component import Component
from mdpo_core.remedies import option


@dataclass(frozen=True)
class JudgeUse:
    """How a judge was used. ``asked``: the model that was asked for; ``answered``: the models that replied."""

    asked: str | None
    answered: tuple[str, ...]
    replies: int


@dataclass(frozen=True)
class Score:
    """What a benchmark finds in a model's answers.

    ``metrics``: by the names of the official script, rounded only where it rounds. ``counts``: what they are made of.
    ``unparsed``: the number of answers, or of a judge's replies, in which the scorer does not find what it looks for.
    ``by_row``: what was found in each answer, in their order. ``warnings``: sentences for people. ``printed``: the line
    that the official script prints, rounded as it rounds; empty if it prints none.
    """

    metrics: Mapping[str, Any]
    counts: Mapping[str, Any]
    unparsed: int = 0
    by_row: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    judge: JudgeUse | None = None
    printed: str = ""


class Benchmark(Component):
    """Questions about pictures, and the score of a model's answers. Its options are those of `mdpo score`."""

    kind: ClassVar[str] = "benchmark"
    # The keys in the answer files of the official scripts.
    answer_names: ClassVar[AnswerNames]
    # The keys in the answer files of other projects' scripts that score it.
    other_answer_names: ClassVar[tuple[AnswerNames, ...]] = ()
    # What the answers may be left out for: the option that brings what is scored instead, such as a judge's replies.
    instead_of_answers: ClassVar[str | None] = None
    data: Path | None = Field(default=None, description="the folder with the benchmark's own files")
    questions: Path | None = Field(default=None, description="the file of the questions")

    @property
    def variant(self) -> str:
        """How the score is made: ``official``, or each option with which it differs from the official script's."""
        return "official"

    @property
    def may_lack_answers(self) -> bool:
        """Whether the option `instead_of_answers` is given."""
        return self.instead_of_answers is not None and getattr(self, self.instead_of_answers) is not None

    def beside(self, answers: Path) -> Self:
        """The benchmark as it scores a file of answers: what it keeps in files stands beside them by default."""
        return self

    def check(self) -> None:
        """Raise `RecipeError` or `DataError` if a file, a package or a package's data is missing. Reads no answers."""
        for file in self.files():
            require_file(file)

    def require_for(self, ids: Collection[str]) -> None:
        """Raise `RecipeError` if a package that scores the answers to these questions, or data of it, is missing.

        It is called before a model answers them.
        """
        return

    def files(self) -> Sequence[Path]:
        """The files that are read besides the answers; their digests stand in the result."""
        return ()

    def question_files(self) -> Sequence[Path]:
        """The files of the questions, where `files` does not name them."""
        return [self.questions] if self.questions is not None and self.questions.is_file() else []

    @abstractmethod
    def read_questions(self) -> Sequence[Question]:
        """What a model is to be asked, in order. Raises `DataError` or `RecipeError`."""

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        """The answers in a file or a folder of a layout of its own; None: it is read like those of all benchmarks."""
        return None

    @abstractmethod
    def score(self, answers: Sequence[Answer]) -> Score:
        """The score of the answers. Raises `DataError` if they are not the answers to all questions.

        ``answers``: none if `may_lack_answers`.
        """

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The metrics of what was found in some answers, as in `Score.by_row`; an answer may occur several times.

        `mdpo eval` draws answers with it, to say how sure a difference is; empty: nothing is said.
        """
        return {}

    def of_questions(self, ids: Collection[str]) -> Benchmark:
        """The same benchmark, whose score is that of these questions alone.

        Raises `RecipeError` if it needs the answers to all of them.
        """
        raise RecipeError(f"the benchmark '{self.component_name()}' is scored by all its questions; ask all of them")

    def required(self, name: str, holds: str) -> Path:
        """The path that an option names. Raises `RecipeError` without it; ``holds``: what lies there."""
        path: Path | None = getattr(self, name)
        if path is None:
            needs = option(f"--{name.replace('_', '-')} PATH")
            raise RecipeError(f"the benchmark '{self.component_name()}' needs {needs}: {holds}")
        return path


def require_file(path: Path) -> None:
    """Raise `RecipeError` if a file is missing."""
    if not path.is_file():
        raise RecipeError(absent(path))
