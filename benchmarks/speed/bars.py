"""What the fast step must reach, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.speed.job import FASTEST, NUM_TERMS, TERMS, Result, Shape

MORE_WORDS = 256_000
# Extra measurements of the fastest: steps with all terms in turn with mDPO's, and a large vocabulary.
MORE_TERMS, LARGE_VOCABULARY = "terms", "vocabulary"
# Peak memory without the holes of the heap, and a whole run.
PAPER_HELD, HELD = "paper, memory held", "ours, memory held"
HELD_WITHOUT_DROPOUT = "ours, memory held without dropout"
DROPPING = "ours, with and without dropout in turn"
RUN = "ours, a run with a worker process"
LOSS_LIMIT, GRADIENT_LIMIT = 1e-5, 1e-4


@dataclass(frozen=True)
class Bar:
    """A figure and the limit that it must not pass."""

    name: str
    figure: float
    limit: float
    at_least: bool = False
    form: str = ".3f"

    @property
    def reached(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def row(self) -> str:
        sign = "at least" if self.at_least else "at most"
        reached = "reached" if self.reached else "NOT reached"
        return f"| {self.name} | {self.figure:{self.form}} | {sign} {self.limit:g} | {reached} |"


def cpu_bars(results: Mapping[str, Result], matrix_rate: float, shape: Shape) -> list[Bar]:
    """The bars whose figures were measured."""
    measured = {name: result for name, result in results.items() if result.error is None}
    kinds = (_times, _memory, _dropout, _parity, _waits)
    found = [bar for kind in kinds for bar in kind(measured)] + list(_growth(measured, shape))
    if FASTEST in measured:
        share = rate(measured[FASTEST]) / matrix_rate
        found.append(Bar("arithmetic rate over the machine's own fp32 matrix product", share, 0.75, at_least=True))
    return found


def _times(results: Mapping[str, Result]) -> Iterator[Bar]:
    if FASTEST not in results:
        return
    ours = results[FASTEST]
    if "paper" in results:
        paper = results["paper"]
        yield Bar("three-view step over the paper's: time", ours.median() / paper.median(), 0.30)
        if ours.cache_seconds is not None:
            first_epoch = (ours.cache_seconds + ours.median()) / paper.median()
            yield Bar("first epoch, the caching pass included, over the paper's", first_epoch, 0.45)


def _memory(results: Mapping[str, Result]) -> Iterator[Bar]:
    if HELD in results and PAPER_HELD in results:
        share = of_step(results[HELD]) / of_step(results[PAPER_HELD])
        yield Bar("peak memory of the step over the paper's, held by tensors", share, 0.40)


def _dropout(results: Mapping[str, Result]) -> Iterator[Bar]:
    if DROPPING in results:
        without, dropping = (results[DROPPING].seconds[key] for key in sorted(results[DROPPING].seconds))
        added = statistics.median(one - other for one, other in zip(dropping, without, strict=True))
        yield Bar("what dropout adds to the time of our step", added / statistics.median(without), 0.03)
    if HELD in results and HELD_WITHOUT_DROPOUT in results:
        added = of_step(results[HELD]) / of_step(results[HELD_WITHOUT_DROPOUT]) - 1
        yield Bar("what dropout adds to the memory of our step", added, 0.05)


def of_step(result: Result) -> int:
    """Bytes that a step needs beside what was there before."""
    return result.peak - result.resident


def _waits(results: Mapping[str, Result]) -> Iterator[Bar]:
    wait = results[RUN].data_wait if RUN in results else None
    if wait is not None:
        yield Bar(f"`data_wait` of {RUN}", wait, 0.02, form=".4f")


def _growth(results: Mapping[str, Result], shape: Shape) -> Iterator[Bar]:
    if MORE_TERMS in results:
        yield Bar("a further term over scored views, share of the step", further_term(results[MORE_TERMS]), 0.01)
    if LARGE_VOCABULARY in results and HELD in results:
        grown = results[LARGE_VOCABULARY].peak - results[HELD].peak
        weights = shape.vocabulary_bytes() * (MORE_WORDS / shape.vocab_size - 1)
        # Head and embeddings are frozen: their weights have no gradients.
        yield Bar(
            f"memory held from {shape.vocab_size:,} to {MORE_WORDS:,} words, over the growth of the head's and the "
            "embeddings' weights",
            grown / weights,
            1.05,
        )


def further_term(result: Result) -> float:
    """What one more term adds to a step, relative; of the differences of steps that took turns."""
    few, many = result.seconds[NUM_TERMS], result.seconds[len(TERMS)]
    added = statistics.median(after - before for before, after in zip(few, many, strict=True))
    return added / (len(TERMS) - NUM_TERMS) / statistics.median(few)


def _parity(results: Mapping[str, Result]) -> Iterator[Bar]:
    compared = [result.differences for result in results.values() if result.differences is not None]
    if compared:
        loss, gradient = (max(values) for values in zip(*compared, strict=True))
        yield Bar("first step's loss, ours from the paper's, relative", loss, LOSS_LIMIT, form=".1e")
        yield Bar("first step's LoRA gradients, relative to the largest", gradient, GRADIENT_LIMIT, form=".1e")


def rate(result: Result) -> float:
    """FLOP/s."""
    assert result.flops is not None
    return result.flops / result.median()
