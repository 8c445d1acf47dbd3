"""The paper's algorithm and TRL's DPOTrainer on the same shape, pairs and weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from benchmarks.gpu.stages import GB, Bench, Skipped
from benchmarks.gpu.steps import PAIRS
from benchmarks.speed.job import Job, Result

_STEPS = 3
_SPARE = 15.0


def paper(bench: Bench) -> None:
    """Three sequences a pair under policy and reference, all logits."""
    from benchmarks.speed.contestants import paper as contestant

    _measured(bench, contestant.run)


def trl(bench: Bench) -> None:
    """Two views; not asked of a machine without TRL."""
    if find_spec("trl") is None:
        raise Skipped("trl is not installed")
    from benchmarks.speed.contestants import trl_dpo

    _measured(bench, trl_dpo.run)


def _measured(bench: Bench, run: Any) -> None:
    for pairs in sorted(PAIRS[bench.device])[:3]:
        if bench.left < _SPARE:
            bench.note(pairs=pairs, skipped=f"{bench.left:.0f} s are left")
            continue
        job = Job("", bench.shape, str(bench.folder), _STEPS, bench.device, count_flops=True).changed(num_pairs=pairs)
        bench.tried(lambda: _numbers(bench, run(job), pairs), pairs=pairs)  # noqa: B023


def _numbers(bench: Bench, found: Result, pairs: int) -> dict[str, Any]:
    seconds = found.median()
    flops = {"tflop": found.flops / 1e12, "tflops": found.flops / seconds / 1e12} if found.flops else {}
    peak = {"allocated_gb": found.peak / GB} if bench.cuda else {}
    return {"seconds": seconds, "pairs_per_second": pairs / seconds, **flops, **peak}
