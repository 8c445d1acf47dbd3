"""A run as it lies on the disk: its recipe, its manifest and its numbers, before and after training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core.benchmarking.evaluator import numbers_in
from mdpo_core.errors import CheckpointError, MdpoError, RecipeError
from mdpo_core.storage.files import read_json_object
from mdpo_core.storage.resuming import recorded_recipe
from mdpo_core.storage.run_directory import RunDirectory, expanded, read_manifest

Records = Sequence[Mapping[str, float]]

_NO_RESULT = frozenset(("step", "epoch", "learning_rate", "grad_norm", "skipped_updates"))
_EVAL = "eval/"
ANSWERED = "answered/"  # before the name of a benchmark that `mdpo eval` asked


class Measured(NamedTuple):
    """A number of a run: ``before`` training, None if nobody measured it then, and ``after``."""

    before: float | None
    after: float


@dataclass(frozen=True)
class StoredRun:
    """What a run has written. ``results``: what `mdpo eval` found, by benchmark: before and after training."""

    path: Path
    recipe: Mapping[str, Any]
    manifest: Mapping[str, Any]
    records: Records
    results: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    is_finished: bool

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.resolve().name

    @property
    def last_step(self) -> int:
        """The last step that was logged."""
        return int(max(record["step"] for record in self.records))

    @cached_property
    def measured(self) -> Mapping[str, Measured]:
        """The results by name.

        Of an evaluation: its first number and its last one. Of training: the mean of the last tenth of the lines. Of
        `mdpo eval`: ``answered/BENCHMARK/METRIC``.
        """
        logged = [record for record in self.records if "loss" in record]
        trained = {name: Measured(None, value) for name, value in means_of_last_tenth(logged).items()}
        found = {**dict(self._evaluated()), **dict(self._answered()), **trained}
        return {name: each for name, each in found.items() if name not in _NO_RESULT}

    def _evaluated(self) -> Iterator[tuple[str, Measured]]:
        names = dict.fromkeys(name for record in self.records for name in record if name.startswith(_EVAL))
        for name in names:
            values = {record["step"]: record[name] for record in self.records if name in record}
            yield name, Measured(values.get(0), values[max(values)])

    def _answered(self) -> Iterator[tuple[str, Measured]]:
        for benchmark, results in self.results.items():
            before, after = (dict(numbers_in(each["metrics"])) for each in results)
            for name, value in after.items():
                yield f"{ANSWERED}{benchmark}/{name}", Measured(before.get(name), value)


def means_of_last_tenth(logged: Records) -> dict[str, float]:
    """The mean of each metric over the last tenth of the lines."""
    part = logged[-math.ceil(len(logged) / 10) :] if logged else []
    names = dict.fromkeys(name for record in part for name in record)
    values = {name: [record[name] for record in part if name in record] for name in names}
    return {name: sum(each) / len(each) for name, each in values.items()}


def read_runs(paths: Sequence[str | Path]) -> list[StoredRun]:
    """The runs in these directories.

    Raises `RecipeError` with every directory that is not a run, has logged nothing, is damaged or is there twice.
    """
    runs, problems, names = list[StoredRun](), list[str](), dict[Path, Path]()
    for path in map(Path, paths):
        if path.resolve() in names:
            problems.append(f"'{path}' is there twice, first as '{names[path.resolve()]}'; name each run once")
            continue
        names[path.resolve()] = path
        try:
            runs.append(read_run(path))
        except MdpoError as error:
            problems.append(str(error))
    if problems:
        raise RecipeError("\n".join(problems))
    return runs


def read_run(path: Path) -> StoredRun:
    """The run in a directory. Raises `RecipeError` if it is none, and `CheckpointError` if a file is damaged."""
    run = RunDirectory(expanded(path))
    if not run.recipe.is_file():
        what = "is not a run directory, which has a recipe.yaml" if run.path.is_dir() else "is no directory"
        raise RecipeError(f"'{path}' {what}; name the directory that mdpo-run wrote (output.dir)")
    recipe, records = recorded_recipe(run.recipe), run.metrics.records()
    if not records:
        raise RecipeError(f"'{path}' has logged no step yet: {run.metrics.path.name} is empty or missing")
    results = dict(_results(run.path / "eval"))
    return StoredRun(run.path, recipe, read_manifest(run.manifest), records, results, run.final.is_dir())


def _results(folder: Path) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]:
    """What `mdpo eval` has written: by benchmark, the results before and after training."""
    for after in sorted(folder.glob("*-after.json")):
        name = after.name.removesuffix("-after.json")
        yield name, (_result(folder / f"{name}-before.json"), _result(after))


def _result(file: Path) -> dict[str, Any]:
    try:
        result = read_json_object(file)
        if not isinstance(result.get("metrics"), dict):
            raise ValueError("it has no metrics")
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged ({error}); remove it, and mdpo eval makes it again") from error
    return result
