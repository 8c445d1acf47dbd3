"""The benchmark that a command line names, with the options that the line gives it."""

from __future__ import annotations

import argparse

from mdpo_core.cli.scoring.component_options import component_from
from mdpo_core.interfaces.benchmark.benchmark import Benchmark
from mdpo_core.registry.discovery import current_registry


def benchmark_from(options: argparse.Namespace) -> Benchmark:
    """Raises `PluginError` for an unknown benchmark, and `RecipeError` for an option that does not fit."""
    cls = current_registry().get("benchmark", options.benchmark)
    assert issubclass(cls, Benchmark)
    return component_from(cls, options.more, f"mdpo {options.command} {options.benchmark}")
