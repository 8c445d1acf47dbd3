"""Benchmarks of hallucination, each scored as its official script does."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_benchmarks.amber.benchmark import Amber
from mdpo_benchmarks.chair import Chair
from mdpo_benchmarks.hallusion.benchmark import HallusionBench
from mdpo_benchmarks.mme import MME
from mdpo_benchmarks.mmhal import MMHal
from mdpo_benchmarks.object_halbench.benchmark import ObjectHalBench
from mdpo_benchmarks.pope import Pope
from mdpo_core import BenchmarkScore, Component, hookimpl


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    """Our benchmarks by name."""
    return {
        "amber": Amber,
        "benchmark": BenchmarkScore,
        "chair": Chair,
        "hallusionbench": HallusionBench,
        "mme": MME,
        "mmhal": MMHal,
        "object_halbench": ObjectHalBench,
        "pope": Pope,
    }
