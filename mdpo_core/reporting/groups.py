"""Runs of one experiment are a group: their recipes differ in seeds alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from mdpo_core.reporting.intervals import Mean, mean_of
from mdpo_core.reporting.options import SEEDS, experiment_of, option_of
from mdpo_core.reporting.stored_run import StoredRun

_GAP = r"[-_=.,+ ]*"
_SEED = re.compile(rf"{_GAP}((train|data)[._])?(seed)?{_GAP}\d*$")  # the end of what the names of seeds have in common


@dataclass(frozen=True)
class Group:
    """Runs whose recipes differ in ``train.seed`` and ``data.seed`` alone, in the order in which they were named."""

    name: str
    runs: Sequence[StoredRun]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What the recipes of all runs have in common: everything but the seeds."""
        return experiment_of(self.runs[0].recipe)

    @cached_property
    def metrics(self) -> Sequence[str]:
        """The names of the numbers that every run of the group has."""
        return [name for name in self.runs[0].measured if all(name in run.measured for run in self.runs)]

    def after(self, metric: str) -> Mean:
        """The mean of a number after training."""
        return mean_of([run.measured[metric].after for run in self.runs])

    def before(self, metric: str) -> Mean | None:
        """The mean of a number before training; None if a run has not measured it then."""
        values = [run.measured[metric].before for run in self.runs]
        known = [value for value in values if value is not None]
        return mean_of(known) if len(known) == len(values) else None


def grouped(runs: Sequence[StoredRun]) -> list[Group]:
    """The groups of these runs, in the order of their first runs; each has a name of its own."""
    experiments: list[tuple[dict[str, Any], list[StoredRun]]] = []
    for run in runs:
        experiment = experiment_of(run.recipe)
        same = next((members for known, members in experiments if known == experiment), None)
        if same is None:
            experiments.append((experiment, [run]))
        else:
            same.append(run)
    return [Group(name, members) for name, (_, members) in zip(_names(experiments), experiments, strict=True)]


def _names(experiments: Sequence[tuple[object, Sequence[StoredRun]]]) -> list[str]:
    """What the names of a group's directories have in common, without a seed; the path where two would be alike."""
    names = [_common([run.name for run in runs]) for _, runs in experiments]
    return [
        name if names.count(name) == 1 else str(runs[0].path)
        for name, (_, runs) in zip(names, experiments, strict=True)
    ]


def _common(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    begin, end = _same_start(names), _same_start([name[::-1] for name in names])[::-1]
    return _SEED.sub("", begin, count=1) or re.sub(rf"^\d*{_GAP}", "", end) or names[0]


def _same_start(names: Sequence[str]) -> str:
    """The letters with which all names begin."""
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in columns)


def seeds_of(run: StoredRun) -> str:
    """The seeds of a run: ``0``, or ``0, data 3`` where the data has one that is not the same."""
    train, data = (option_of(run.recipe, key) for key in SEEDS)
    return str(train) if data in (None, train) else f"{train}, data {data}"
