"""A run's model beside the model before training, on benchmarks: `mdpo eval`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.benchmarking.answering import Asking, answer_questions
from mdpo_core.benchmarking.evaluator import BenchmarkScore, numbers_in
from mdpo_core.benchmarking.models import LocalModel, local_model, untrained_model
from mdpo_core.benchmarking.scoring import Result, score_answers
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.interfaces.model import Decoding
from mdpo_core.storage.files import atomic_write
from mdpo_core.words.tables import markdown_table

_DRAWS = 500
_OUTSIDE = 0.025  # of the draws, at each end of an interval


@dataclass(frozen=True)
class Difference:
    """A metric before and after training.

    ``interval``: in which 95 % of the differences lie when the answers are sampled with replacement (bootstrap); None:
    the benchmark cannot be scored from parts.
    """

    metric: str
    before: float
    after: float
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """How much the metric grew."""
        return self.after - self.before


@dataclass(frozen=True)
class Compared:
    """The two results of a benchmark, and what differs. ``name``: the label, or else that of the benchmark."""

    name: str
    before: Result
    after: Result
    differences: Sequence[Difference]


def evaluate_run(run: Path, evaluators: Sequence[object], out: Path, at_once: int) -> Iterator[Compared]:
    """Each benchmark of ``evaluators``, answered by the model before training and by the trained one.

    Answers and results are written into ``out``; a call that was stopped goes on from them. Raises `RecipeError` if no
    evaluator asks a benchmark.
    """
    named = [each for each in evaluators if isinstance(each, BenchmarkScore)]
    if not named:
        raise RecipeError(
            "the recipe asks no benchmark: add one to evaluators, such as {evaluator: benchmark, of: {benchmark: pope, "
            "questions: FILE}, images: DIR}"
        )
    names = [each.name for each in named]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"two evaluators are called '{twice}': give each a label, such as label: {twice}_random")
    for each in named:
        decoding = Decoding(each.max_new_tokens)
        models = {"before": untrained_model(run, decoding), "after": local_model(run, decoding)}
        before, after = (_scored(each, model, out, name, at_once) for name, model in models.items())
        yield Compared(each.name, before, after, list(_differences(each.benchmark, before, after)))


def _scored(evaluator: BenchmarkScore, model: LocalModel, out: Path, name: str, at_once: int) -> Result:
    file = out / f"{evaluator.name}-{name}.jsonl"
    answer_questions(Asking(evaluator.asked, model.decoding, at_once), model, file)
    result = score_answers(evaluator.benchmark, file)
    result.write(file.with_suffix(".json"))
    return result


def _differences(benchmark: Benchmark, before: Result, after: Result) -> Iterator[Difference]:
    first, second = (dict(numbers_in(each.score.metrics)) for each in (before, after))
    intervals = _intervals(benchmark, before.score.by_row, after.score.by_row)
    for name in first:
        if name in second:
            yield Difference(name, first[name], second[name], intervals.get(name))


def _intervals(
    benchmark: Benchmark, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[float, float]]:
    """The interval of each metric's difference, by drawing the same questions for both models."""
    if len(before) != len(after) or not benchmark.metrics_of(before):
        return {}
    rng, found = random.Random(0), dict[str, list[float]]()
    for _ in range(_DRAWS):
        drawn = rng.choices(range(len(before)), k=len(before))
        first, second = (
            dict(numbers_in(benchmark.metrics_of([rows[index] for index in drawn]))) for rows in (before, after)
        )
        for name in first.keys() & second.keys():
            found.setdefault(name, []).append(second[name] - first[name])
    return {name: _middle(sorted(values)) for name, values in found.items()}


def _middle(values: Sequence[float]) -> tuple[float, float]:
    cut = round(_OUTSIDE * (len(values) - 1))
    return values[cut], values[-1 - cut]


def write_table(compared: Sequence[Compared], file: Path) -> None:
    """Write the differences as a table in Markdown."""
    head = ("benchmark", "metric", "before", "trained", "difference", "95 %")
    rows = [[each.name, *cells(found)] for each in compared for found in each.differences]
    atomic_write(file, f"{markdown_table(head, rows)}\n".encode())


def cells(found: Difference) -> list[str]:
    """A difference as text: metric, before, after, difference and interval."""
    interval = "" if found.interval is None else f"{found.interval[0]:+.4f} to {found.interval[1]:+.4f}"
    return [found.metric, f"{found.before:.4f}", f"{found.after:.4f}", f"{found.difference:+.4f}", interval]
