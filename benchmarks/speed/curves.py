"""How time and memory grow with responses, pairs, terms and words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.speed.job import FASTEST, TERMS, Job, Result
from benchmarks.speed.processes import Processes

CONTESTANTS = ("paper", FASTEST)
# The fields of `Shape` that grow, and how it is called.
SIZES = {
    "response_tokens": (50, 100, 200, 400, 800),
    "num_pairs": (1, 2, 4, 8, 16),
    "vocab_size": (32_000, 128_000, 256_000),
}
TITLES = {
    "response_tokens": "response tokens",
    "num_pairs": "pairs",
    "num_terms": "terms",
    "vocab_size": "words in the vocabulary",
}


@dataclass(frozen=True)
class Point:
    """``seconds`` of a step and its process's peak memory, or a ``note`` that says why there are none.

    ``weights_gb``: of head and embeddings.
    """

    axis: str
    value: int
    contestant: str
    weights_gb: float
    seconds: float | None = None
    peak_gb: float | None = None
    note: str = ""


def measure(processes: Processes, job: Job) -> Iterator[Point]:
    """All curves, for both contestants."""
    for contestant in CONTESTANTS:
        named = replace(job, contestant=contestant)
        for axis in SIZES:
            yield from _sizes(processes, named, axis)
        yield from _terms(processes, named)


def _sizes(processes: Processes, job: Job, axis: str) -> Iterator[Point]:
    before: tuple[Job, Result] | None = None
    for value in SIZES[axis]:
        sized = job.changed(**{axis: value})
        sized = replace(sized, folder=processes.folder(sized.shape))
        point = Point(axis, value, job.contestant, sized.shape.vocabulary_bytes() / 1e9)
        needed = 0 if before is None else _predicted(sized, *before)
        if needed > _available():
            yield replace(point, note=f"skipped: about {needed / 1e9:.0f} GB needed, {_available() / 1e9:.0f} GB there")
            # What is larger needs more still.
            continue
        result = processes.run(sized)
        if result.error is not None:
            yield replace(point, note=result.error)
            return
        before = sized, result
        yield replace(point, seconds=result.median(), peak_gb=result.peak / 1e9)


def _predicted(job: Job, smaller: Job, measured: Result) -> float:
    """Bytes, if what a step adds grows in proportion to pairs, tokens and words."""
    growth = _size(job) / _size(smaller)
    weights = job.shape.vocabulary_bytes() - smaller.shape.vocabulary_bytes()
    return measured.resident + weights + growth * (measured.peak - measured.resident)


def _size(job: Job) -> int:
    return job.shape.num_pairs * job.shape.sequence_tokens * job.shape.vocab_size


def _terms(processes: Processes, job: Job) -> Iterator[Point]:
    """All in one process, in turn: what a term adds is less than what one process differs from the next."""
    counts = (1, 2, 4, len(TERMS))
    result = processes.run(replace(job, num_terms=counts))
    for num in counts:
        point = Point("num_terms", num, job.contestant, job.shape.vocabulary_bytes() / 1e9)
        if result.error is not None:
            yield replace(point, note=result.error)
        else:
            yield replace(point, seconds=result.median(num))


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
