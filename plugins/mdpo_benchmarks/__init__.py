"""Benchmarks of hallucination, each scored as its official script does."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_benchmarks.amber.benchmark import Amber
from mdpo_benchmarks.mmhal import MMHal
from mdpo_benchmarks.pope import Pope
from mdpo_core import BenchmarkScore, Component, hookimpl


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    """Our benchmarks by name."""
    return {
        "amber": Amber,
        "benchmark": BenchmarkScore,
        "mmhal": MMHal,
        "pope": Pope,
    }
