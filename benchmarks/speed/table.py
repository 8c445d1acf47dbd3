"""Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.speed.bars import Bar, rate
from benchmarks.speed.job import Result

GB = 1e9
METHOD = """\
- **A step** is everything from a collated micro-batch to updated weights. Each contestant runs in a separate process,
  with the same model folder, pairs, crops, threads, LoRA (dropout 0.05), clipping and AdamW, and without activation
  checkpointing. `trl` is plain DPO: two views, no image term. On a CPU its head computes logits for every position, on
  CUDA for those of the responses.
- **Time** is the median (least to most) of {steps} steps, after one warm-up step.
- **Peak memory** is that of the whole process from the first step on. *Of the step* leaves out what was there right
  before. *Held by tensors* is the same with a C library that gives freed blocks back at once
  (`MALLOC_MMAP_THRESHOLD_`), so holes in its heap do not count.
- **Arithmetic** is what is executed: matrix products, convolutions and attention. A causal kernel counts half of the
  scores; the scores that fused attention computes again in backward count, too."""


def header(shape_name: str, machine: str, versions: Mapping[str, str], when: str, load: float, steps: int) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Shape `{shape_name}` on {machine}; {named}; {when}, load before {load:.2f}.\n\n{METHOD.format(steps=steps)}"
    )


def contestants(results: Mapping[str, Result], matrix_rate: float) -> str:
    lines = [
        "| contestant | seconds a step | of the paper's | peak memory, GB | of the paper's | of the step, GB "
        "| TFLOP a step | of the paper's | GFLOP/s | of the matrix product's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    paper = results.get("paper", Result(error="not run"))
    lines += [_contestant(name, result, paper, matrix_rate) for name, result in results.items()]
    return "\n".join([*lines, f"\nThe machine's own matrix product: {matrix_rate / 1e9:.0f} GFLOP/s."])


def _contestant(name: str, result: Result, paper: Result, matrix_rate: float) -> str:
    if result.error is not None:
        return f"| {name} | {result.error} | | | | | | | | |"
    median, seconds = result.median(), next(iter(result.seconds.values()))
    of_paper = ("-", "-") if paper.error else (f"{median / paper.median():.3f}", f"{result.peak / paper.peak:.3f}")
    cells = [
        f"{median:.3f} ({min(seconds):.3f} to {max(seconds):.3f})",
        of_paper[0],
        f"{result.peak / GB:.2f}",
        of_paper[1],
        f"{(result.peak - result.resident) / GB:.2f}",
        *_arithmetic(result, paper, matrix_rate),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _arithmetic(result: Result, paper: Result, matrix_rate: float) -> list[str]:
    if result.flops is None:
        return ["", "", "", ""]
    of_paper = "-" if paper.flops is None else f"{result.flops / paper.flops:.3f}"
    return [f"{result.flops / 1e12:.3f}", of_paper, f"{rate(result) / 1e9:.1f}", f"{rate(result) / matrix_rate:.3f}"]


def bars(found: Sequence[Bar]) -> str:
    return "\n".join(["| figure | measured | bar | |", "|---|---|---|---|", *(bar.row() for bar in found)])


def curve(points: Sequence[Mapping[str, object]], axis: str, title: str) -> str:
    """One row a point; see `curves.Point`."""
    lines = [f"| {title} | contestant | seconds a step | peak memory, GB |", "|---|---|---|---|"]
    for point in points:
        if point["axis"] == axis:
            lines.append(
                f"| {point['value']:,} | {point['contestant']} | {_number(point['seconds'], point['note'])} "
                f"| {_number(point['peak_gb'], '')} |"
            )
    return "\n".join(lines)


def _number(value: object, otherwise: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(otherwise)
