"""Answers become a result: the file that `mdpo score` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mdpo_core.benchmarking.answer_files import read_answers
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.benchmark.answers import Answer
from mdpo_core.interfaces.benchmark.benchmark import Benchmark, Score
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.remedies import option
from mdpo_core.storage.files import atomic_write, sha256


@dataclass(frozen=True)
class Result:
    """A score, and what it was made of. ``answers``: their file, or None if a judge's replies were enough."""

    benchmark: Benchmark
    score: Score
    answers: Path | None
    num_answers: int

    def as_json(self) -> dict[str, Any]:
        """The content of ``result.json``."""
        score, file = self.score, self.answers
        return {
            "benchmark": self.benchmark.component_name(),
            "variant": self.benchmark.variant,
            "metrics": score.metrics,
            **({"printed": score.printed} if score.printed else {}),
            "counts": score.counts,
            "unparsed": score.unparsed,
            "answers": None if file is None else {"file": file.name, "sha256": digest(file), "rows": self.num_answers},
            "data": {each.name: sha256(each) for each in self.benchmark.files()},
            "judge": None if score.judge is None else asdict(score.judge),
            "mdpo": version("mdpo"),
        }

    def write(self, path: Path) -> None:
        """Write ``result.json``."""
        atomic_write(path, f"{json.dumps(self.as_json(), indent=2, ensure_ascii=False)}\n".encode())

    def write_rows(self, path: Path) -> None:
        """Write a line of JSON for each answer: what was found in it."""
        lines = (json.dumps(row, ensure_ascii=False) for row in self.score.by_row)
        atomic_write(path, "".join(f"{line}\n" for line in lines).encode())


def score_answers(benchmark: Benchmark, path: Path | None) -> Result:
    """The score of the answers in a file; without one, of what the benchmark takes instead.

    Raises `RecipeError`, `DataError` or `PluginError` if something is missing or wrong; nothing is then scored.
    """
    answers: Sequence[Answer] = ()
    if path is not None:
        with code_of(benchmark, "beside"):
            benchmark = benchmark.beside(path)
    with code_of(benchmark, "check"):
        benchmark.check()
    if path is not None:
        answers = read_answers(benchmark, path)
    elif not benchmark.may_lack_answers:
        needs = f"the benchmark '{benchmark.component_name()}' needs {option('--answers FILE')}"
        raise RecipeError(f"{needs}: what a model answered")
    with code_of(benchmark, "score"):
        return Result(benchmark, benchmark.score(answers), path, len(answers))


def digest(path: Path) -> str:
    """The SHA-256 of a file; of a folder, that of the list of its files with theirs."""
    import hashlib

    if path.is_file():
        return sha256(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = "".join(f"{sha256(each)}  {each.relative_to(path)}\n" for each in files)
    return hashlib.sha256(lines.encode()).hexdigest()
