"""`mdpo profile`: where the time and the memory of a run's steps go."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.words.amounts import counted, memory_of

if TYPE_CHECKING:
    from mdpo_core.profiling.report import Profile
    from mdpo_core.recipe.recipe import Recipe

_SHOWN = 10  # operators
_WIDTH = 46  # of an operator's name
_ENDINGS = (".json", ".json.gz")


def profile(recipe: Recipe, options: argparse.Namespace) -> int:
    """Run the steps, in this process or in several that this one starts; print the numbers, and write the trace."""
    from mdpo_core.processes.world import current_world
    from mdpo_core.storage.files import atomic_write

    trace = options.trace or Path(f"{options.recipe.stem}.trace.json")
    _require_writable("--trace", trace)
    if options.json:
        _require_writable("--json", options.json)
        _require_apart(options.json, trace)
    if (options.processes or 1) > current_world().size:
        return _launched(options)
    from mdpo_core.profiling.profiler import profile_recipe

    found = profile_recipe(recipe, options.steps, trace)
    if current_world().is_main:
        print("\n".join([*_lines(options.recipe, found), f"trace: {trace} (https://ui.perfetto.dev shows it)"]))  # noqa: T201
        if options.json:
            atomic_write(options.json, f"{json.dumps(_numbers(found), indent=2)}\n".encode())
    return 0


def _require_writable(option: str, file: Path) -> None:
    """Refuse a file that cannot be written, or that is no JSON file: another one could be overwritten by mistake."""
    from mdpo_core.errors import RecipeError

    if not file.name.endswith(_ENDINGS):
        raise RecipeError(f"{option}: {file} must end in {' or '.join(_ENDINGS)}")
    folder = file.absolute().parent
    if not folder.is_dir():
        raise RecipeError(f"{option}: the folder {file.parent} does not exist")
    if not os.access(folder, os.W_OK):
        raise RecipeError(f"{option}: no file can be written in {folder}; name another one")
    if file.is_dir():
        raise RecipeError(f"{option}: {file} is a folder")


def _require_apart(numbers: Path, trace: Path) -> None:
    from mdpo_core.errors import RecipeError

    if numbers.resolve() == trace.resolve():
        raise RecipeError(f"--json and --trace name the same file, {numbers}; name two files")


def _launched(options: argparse.Namespace) -> int:
    from mdpo_core.cli.farewell import farewell_of, recipe_arguments
    from mdpo_core.processes.launcher import launch

    words = ["profile", *recipe_arguments(options), "--steps", str(options.steps)]
    for name in ("json", "trace"):
        words += [f"--{name}", str(getattr(options, name))] if getattr(options, name) else []
    return launch(options.processes, words, farewell_of(options))


def _lines(recipe: Path, found: Profile) -> Iterator[str]:
    steps, processes = counted(found.num_steps, "step"), counted(found.num_processes, "process")
    yield f"{recipe}: {steps} of {counted(found.num_pairs, 'pair')}, {processes}"
    yield f"on {found.device}, in {found.arithmetic}"
    yield ""
    pairs, tokens = (found.rates[f"{name}_per_second"] for name in ("pairs", "tokens"))
    yield f"  {found.seconds_per_step:.4g} s a step, {pairs:,.4g} pairs/s, {tokens:,.0f} tokens/s"
    yield from _arithmetic(found)
    yield ""
    yield from _phases(found)
    yield ""
    yield from _operators(found)
    if found.communication is not None:
        yield f"  {'between processes, also while computing':<{_WIDTH}}{_seconds(found.communication)}"


def _arithmetic(found: Profile) -> Iterator[str]:
    own, tflops = f"matrix product, {found.matrix_rate / 1e12:.4g} TFLOP/s", found.rates.get("tflops")
    if tflops is None or found.tflops_with_repeats is None:
        yield f"  the operations of this model are not known; the device's own {own}"
        return
    devices = "the device's own" if found.num_processes == 1 else "each device's own"
    yield f"  {tflops:.4g} TFLOP/s, {found.rates['mfu']:.1%} of {devices} {own}"
    if found.tflops_with_repeats > tflops:
        yield f"  {found.tflops_with_repeats:.4g} TFLOP/s with what backward computes again"


def _phases(found: Profile) -> Iterator[str]:
    from mdpo_core.profiling.stopwatch import REST

    yield f"  {'phase':<{_WIDTH}}{'s a step':>10}{'share':>9}{'peak' if found.peaks else '':>10}"
    for name, seconds in sorted(found.seconds.items(), key=lambda phase: phase[0] == REST):
        peak = f"{memory_of(found.peaks[name] * 1e9):>10}" if name in found.peaks else ""
        yield f"  {name:<{_WIDTH}}{_seconds(seconds)}{seconds / found.seconds_per_step:9.1%}{peak}"


def _operators(found: Profile) -> Iterator[str]:
    total = sum(each.seconds for each in found.operators) or 1.0
    yield f"  {'largest operators of one micro-batch':<{_WIDTH}}{'s':>10}{'share':>9}{'calls':>10}"
    for each in found.operators[:_SHOWN]:
        name = each.name if len(each.name) < _WIDTH else f"{each.name[: _WIDTH - 4]}..."
        yield f"  {name:<{_WIDTH}}{_seconds(each.seconds)}{each.seconds / total:9.1%}{each.calls:10,}"


def _seconds(value: float) -> str:
    return f"{value:10.4f}"


def _numbers(found: Profile) -> dict[str, Any]:
    """All numbers by name; those that are not known are left out."""
    numbers: dict[str, Any] = {**asdict(found), **found.rates, "seconds_per_step": found.seconds_per_step}
    del numbers["rates"]
    numbers["operators"] = [each._asdict() for each in found.operators]
    return {name: value for name, value in numbers.items() if value is not None}
