"""Run directories as a run leaves them, written without training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mdpo_core import Recipe, load_recipe
from mdpo_core.storage.run_directory import RunDirectory
from support.paths import RECIPES

QUICKSTART = RECIPES / "quickstart.yaml"
MANIFEST = {
    "versions": {"mdpo": "0.1.0", "torch": "2.9.0"},
    "model": {"model.safetensors": "1" * 64},
    "data": {"sha256": "2" * 64, "rows": 4800, "quarantined": 0, "held_out": {"sha256": "3" * 64, "rows": 96}},
}


def stored_run(
    path: Path,
    *changes: str,
    after: Mapping[str, float] | None = None,
    manifest: Mapping[str, Any] = MANIFEST,
    recipe: Path = QUICKSTART,
    steps: int = 2,
    finished: bool = True,
) -> Path:
    """A run directory. ``after``: the numbers of its last evaluation; before training they are 0."""
    run = RunDirectory(path)
    loaded = _loaded(recipe, changes)
    run.prepare(loaded, manifest)
    numbers = {"eval/digits/wrong_digits": 0.1} if after is None else after
    run.metrics.append(0, {"epoch": 0.0, **dict.fromkeys(numbers, 0.0)})
    for step in range(1, steps + 1):
        run.metrics.append(step, {"epoch": 0.5 * step, **of_step(step, loaded.labels()), "pairs_per_second": 60.0})
    run.metrics.append(steps, {"epoch": 1.0, **numbers})
    if finished:
        run.final.mkdir()
    return path


@cache
def _loaded(recipe: Path, changes: tuple[str, ...]) -> Recipe:
    return load_recipe(recipe, changes)


def of_step(step: int, labels: Iterable[str]) -> dict[str, float]:
    """What training logs of a step."""
    return {"loss": 1 / step, **{f"loss/{label}": 0.7 / step for label in labels}, "rewards/chosen": 0.1 * step}


def with_seeds(folder: Path, values: Iterable[float], *changes: str) -> list[Path]:
    """Runs of one recipe with the seeds 0, 1, 2, ...; ``values``: what each measured after training."""
    return [
        stored_run(
            Path(f"{folder}-seed{seed}"), f"train.seed={seed}", *changes, after={"eval/digits/wrong_digits": value}
        )
        for seed, value in enumerate(values)
    ]
