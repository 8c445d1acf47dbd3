"""Read the numbers of finished runs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.study.numbers import WorldNumbers
from benchmarks.study.running import Task
from benchmarks.study.variants import VARIANTS
from mdpo_core.reporting.stored_run import read_run

_PACKAGES = ("mdpo", "torch", "transformers")


def gathered(finished: Sequence[Task]) -> WorldNumbers:
    """The numbers of finished runs of one world."""
    found = {task: read_run(task.folder) for task in finished}
    first, run = next(iter(found.items()))
    world = first.world
    measured: dict[str, dict[int, dict[str, float]]] = {name: {} for name in VARIANTS}
    for task, stored in found.items():
        after = {each.name: stored.measured[each.metric].after for each in world.measures}
        measured[task.variant.name][task.seed] = after
    return WorldNumbers(
        name=world.name,
        title=world.title,
        about=world.about,
        recipe=world.recipe,
        options=first.common(),
        steps=run.last_step,
        seconds=sum(task.took() for task in finished),
        measures=world.measures,
        base={each.name: value for each in world.measures if (value := run.measured[each.metric].before) is not None},
        runs={name: by_seed for name, by_seed in measured.items() if by_seed},
        versions={name: str(run.manifest["versions"].get(name)) for name in _PACKAGES},
    )
