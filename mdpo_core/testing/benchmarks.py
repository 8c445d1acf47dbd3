"""The contract of benchmarks."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mdpo_core.errors import DataError
from mdpo_core.interfaces.benchmark.answers import Answer, Question
from mdpo_core.interfaces.benchmark.benchmark import Benchmark, Score
from mdpo_core.testing.sentences import (
    Broken,
    calling,
    check_options,
    global_randomness,
    name_of,
    require,
    require_returned,
)


def check_benchmark(benchmark: Benchmark, answer: Callable[[Question], str]) -> None:
    """Check a benchmark; ``answer`` gives an answer to a question as a model may give it.

    Its questions have unique ids. The answers get finite scores that can be written as JSON, the same ones in another
    order and when scored again. Answers that are missing, doubled or of other questions raise `DataError`.
    """
    check_options(benchmark, Benchmark)
    with calling(benchmark, "in check()"):
        benchmark.check()
    questions = _questions(benchmark)
    answers = [
        Answer(f"answers:{number}", each.id, each.prompt, answer(each), {"id": each.id})
        for number, each in enumerate(questions, 1)
    ]
    generators = global_randomness()
    first = _scored(benchmark, answers, "of all answers")
    shuffled = random.Random(0).sample(answers, len(answers))
    name = name_of(benchmark)
    again = _scored(benchmark, answers, "again")
    require(first.metrics == again.metrics, f"{name} gives other metrics when it scores the same answers again")
    require(
        first.metrics == _scored(benchmark, shuffled, "of answers in another order").metrics,
        f"{name} gives other metrics for answers in another order, though they have ids",
    )
    require(global_randomness() == generators, f"{name} uses a global random generator")
    stranger = answers[0]._replace(id="no question has this id")
    _require_refused(benchmark, [*answers, answers[0]], "that has two answers to a question")
    _require_refused(benchmark, [stranger, *answers[1:]], "with an answer to a question that it does not ask")


def _questions(benchmark: Benchmark) -> Sequence[Question]:
    with calling(benchmark, "in read_questions()"):
        questions = benchmark.read_questions()
    require_returned(benchmark, "in read_questions()", questions, Sequence, "a sequence of questions")
    name = name_of(benchmark)
    require(len(questions) > 0, f"{name} has no questions")
    ids = [each.id for each in questions]
    require(all(isinstance(id, str) and id for id in ids), f"{name} has a question whose id is not text")
    require(len(set(ids)) == len(ids), f"{name} has two questions with one id")
    require(all(each.prompt.strip() for each in questions), f"{name} has a question without text")
    return questions


def _scored(benchmark: Benchmark, answers: Sequence[Answer], context: str) -> Score:
    with calling(benchmark, f"for the score {context}"):
        score = benchmark.score(answers)
    require_returned(benchmark, f"for the score {context}", score, Score, "a Score")
    name = name_of(benchmark)
    require(bool(score.metrics), f"{name} gives no metrics")
    for metric, value in _numbers(score.metrics):
        require(math.isfinite(value), f"{name} gives {metric} = {value}")
    found = len(score.by_row)
    require(found in (0, len(answers)), f"{name} tells of {found} answers what it found in them, of {len(answers)}")
    require(score.unparsed >= 0, f"{name} counts {score.unparsed} answers that it cannot parse")
    try:
        json.dumps([score.metrics, score.counts, list(score.by_row)])
    except TypeError as error:
        raise Broken(f"{name} gives a score that cannot be written as JSON: {error}") from error
    return score


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, int | float):
            yield name, float(value)


def _require_refused(benchmark: Benchmark, answers: Sequence[Answer], which: str) -> None:
    try:
        benchmark.score(answers)
    except DataError:
        return
    raise Broken(f"{name_of(benchmark)} scores a file {which}; raise DataError")
