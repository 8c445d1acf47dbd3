"""Benchmarks during a run: the policy answers questions, and its answers are scored."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, field_validator, model_validator

from mdpo_core.benchmarking.asked import AskedQuestions
from mdpo_core.errors import MdpoError
from mdpo_core.interfaces.benchmark.answers import Answer, Question
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.evaluator import Evaluator, Policy
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.processes.world import current_world
from mdpo_core.registry.discovery import make_component
from mdpo_core.storage.files import atomic_write, sha256


class BenchmarkScore(Evaluator):
    """Let the policy answer questions of a benchmark, and score its answers as `mdpo score` does.

    Metrics have the benchmark's name before theirs: ``eval/benchmark/pope/accuracy``. The answers of each evaluation
    stay in the run directory, in ``benchmarks/NAME/step-N.jsonl``.
    """

    of: dict[str, Any] = Field(description="the benchmark and its options: {benchmark: pope, questions: FILE}")
    label: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+$",
        description="the name in metrics and files, such as pope_random; default: that of the benchmark",
    )
    images: Path = Field(description="the folder of the benchmark's pictures")
    share: float = Field(default=1.0, gt=0, le=1, description="the share of its questions that are asked")
    seed: int = Field(default=0, description="the seed that draws them")
    suffix: str = Field(default="", description="what follows every question")
    max_new_tokens: int = Field(default=1024, gt=0, description="tokens of the longest answer")
    _benchmark: Benchmark = PrivateAttr()
    _asked: AskedQuestions = PrivateAttr()

    @field_validator("of")
    @classmethod
    def _names_a_benchmark(cls, of: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(of.get("benchmark"), str):
            raise ValueError("must name a benchmark: {benchmark: pope, questions: FILE}")
        return of

    @model_validator(mode="after")
    def _can_be_asked(self) -> BenchmarkScore:
        """Read the questions, and find the pictures: before a model is loaded."""
        try:
            benchmark = make_component("benchmark", self.of["benchmark"], **self.options_of_benchmark())
            assert isinstance(benchmark, Benchmark)
            benchmark.check()
            asked = AskedQuestions.of(benchmark, self.pictures(), self.suffix)
            if self.share < 1:
                asked = AskedQuestions(benchmark, self._drawn(asked.questions), asked.images, self.suffix)
                benchmark = benchmark.of_questions([each.id for each in asked.questions])
            benchmark.require_for([each.id for each in asked.questions])
        except MdpoError as error:
            raise ValueError(str(error)) from error
        self._benchmark, self._asked = benchmark, asked
        return self

    def options_of_benchmark(self) -> dict[str, Any]:
        """The benchmark's options; a subclass may add those that the recipe leaves out."""
        return {name: value for name, value in self.of.items() if name != "benchmark"}

    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.images.expanduser()

    def _drawn(self, questions: Sequence[Question]) -> list[Question]:
        """Some of the questions, in their order."""
        number = max(1, round(self.share * len(questions)))
        drawn = random.Random(self.seed).sample(range(len(questions)), number)
        return [questions[index] for index in sorted(drawn)]

    @property
    def name(self) -> str:
        """The name in metrics and files: the label, or else the benchmark's own name."""
        return self.label or str(self.of["benchmark"])

    @property
    def prefix(self) -> str:
        return self.name

    def read_files(self) -> Mapping[str, str]:
        """The benchmark's own files, those of its questions, and the pictures that are asked about."""
        benchmark, pictures = self._benchmark, {image for each in self._asked.questions for image in each.images}
        with code_of(benchmark, "files"):
            own = [*benchmark.files(), *benchmark.question_files()]
        return {str(file): sha256(file) for file in [*own, *(self._asked.images / name for name in sorted(pictures))]}

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark; its score is that of the questions that are asked."""
        return self._benchmark

    @property
    def asked(self) -> AskedQuestions:
        """The questions that are asked."""
        return self._asked

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        name, asked = self.name, self._asked.questions
        said = policy.answer(self._asked, self.max_new_tokens)
        file = folder / "benchmarks" / name / f"step-{step}.jsonl"
        answers = [
            Answer(f"{file.name}:{number}", each.id, each.prompt, text, {"image": list(each.images)})
            for number, (each, text) in enumerate(zip(asked, said, strict=True), 1)
        ]
        _write(file, answers)
        # In one process alone: a judge is paid for each reply.
        return current_world().computed_by_main(lambda: dict(numbers_in(self._benchmark.score(answers).metrics, name)))


def _write(file: Path, answers: Sequence[Answer]) -> None:
    rows = ({"id": each.id, "prompt": each.prompt, "response": each.response, **each.values} for each in answers)
    atomic_write(file, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode())


def numbers_in(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in metrics that may be nested, by their path."""
    for name, value in metrics.items():
        path = f"{prefix}/{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from numbers_in(value, path)
        elif isinstance(value, int | float):
            yield path, float(value)
