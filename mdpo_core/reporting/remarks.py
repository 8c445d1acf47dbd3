"""What does not allow to compare runs number by number, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core.reporting.groups import Group, seeds_of
from mdpo_core.reporting.options import SEEDS, by_name, differing, option_of
from mdpo_core.reporting.stored_run import ANSWERED, StoredRun

_HELD_OUT = r"eval/(preference|probe|samples)/"
_OF_TRAINED = r"eval/(probe|samples)/"  # measured on rows that are trained on, where none are held out
_TRAINING = rf"(?!eval/|{ANSWERED})"  # what is measured on the rows that are trained on
_SPEED = frozenset(
    ("pairs_per_second", "tokens_per_second", "data_wait", "tflops", "mfu", "memory_gb", "memory_reserved_gb")
)
_VERSIONS = ("mdpo", "torch", "transformers", "peft")
_VIEWS = ("prefer", "over", "on", "scored")  # of a term: what it compares
_SCALE = ("loss", "anchor", "beta", "label_smoothing", "delta")  # and in which numbers


class Remark(NamedTuple):
    """A sentence. ``pattern``: begins the names of the numbers that cannot be compared because of it."""

    text: str
    pattern: str = r"(?!)"

    def concerns(self, metric: str) -> bool:
        """Whether a number cannot be compared because of this; that of a machine always can."""
        return not is_speed(metric) and re.match(self.pattern, metric) is not None


def remarks_on(groups: Sequence[Group]) -> list[Remark]:
    """Everything that a reader of the comparison must know."""
    runs = [run for group in groups for run in group.runs]
    found = [*_of_ends(runs), *_of_seeds(groups), *_of_versions(runs)]
    if len(runs) > 1:
        found += [*_of_models(runs), *_of_data(groups), *_of_terms(groups), *_of_evaluators(runs), *_of_answers(runs)]
    return found


def remarks_on_recipes(recipes: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """What recipes alone say against comparing the numbers of their runs."""
    runs = [StoredRun(Path(str(number)), recipe, {}, (), {}, True) for number, recipe in enumerate(recipes)]
    return [*_of_terms([Group(run.name, [run]) for run in runs]), *_of_evaluators(runs)]


def is_speed(metric: str) -> bool:
    """Whether a number is of the machine, and not of the model."""
    return metric in _SPEED


def _of_ends(runs: Sequence[StoredRun]) -> Iterator[Remark]:
    for run in runs:
        if not run.is_finished:
            yield Remark(f"{run.name} is not finished: its numbers are those up to step {run.last_step}")
    ends = {run.last_step: run.name for run in runs if run.is_finished}
    if len(ends) > 1:
        told = ", ".join(f"{step} ({name})" for step, name in sorted(ends.items()))
        yield Remark(f"the runs trained for different numbers of steps: {told}")


def _of_seeds(groups: Sequence[Group]) -> Iterator[Remark]:
    for group in groups:
        first: dict[str, str] = {}
        for run in group.runs:
            seeds = seeds_of(run)
            if seeds in first:
                yield Remark(
                    f"{first[seeds]} and {run.name} have the same recipe and the same seed: they are one draw, so the "
                    f"interval of {group.name} is too narrow"
                )
            first.setdefault(seeds, run.name)


def _of_versions(runs: Sequence[StoredRun]) -> Iterator[Remark]:
    for package in _VERSIONS:
        versions = {str(run.manifest.get("versions", {}).get(package, "none")): run.name for run in runs}
        if len(versions) > 1:
            told = ", ".join(f"{version} ({name})" for version, name in versions.items())
            yield Remark(f"the runs have different versions of {package}: {told}")


def _of_models(runs: Sequence[StoredRun]) -> Iterator[Remark]:
    if not _all_equal([run.manifest["model"] for run in runs]):
        yield Remark(
            "the runs began with different models: compare what training changed, not how high a number is",
            r"logps/|eval/probe/logps_per_token",
        )


def _of_data(groups: Sequence[Group]) -> Iterator[Remark]:
    if _differ([_digests(group, ()) for group in groups]):
        none_held_out = any("held_out" not in run.manifest["data"] for group in groups for run in group.runs)
        pattern = f"{_TRAINING}|{_OF_TRAINED}" if none_held_out else _TRAINING
        yield Remark("the runs trained on different rows: their numbers of training cannot be compared", pattern)
    if _differ([_digests(group, ("held_out",)) for group in groups]):
        yield Remark("the runs were measured on different held-out rows: those numbers cannot be compared", _HELD_OUT)


def _differ(groups: Sequence[Mapping[Any, set[str]]]) -> bool:
    """Whether rows differ more than the seeds that draw them: within a seed, or between groups with the same seeds."""
    if any(len(each) > 1 for of_seed in groups for each in of_seed.values()):
        return True
    every = {digest for of_seed in groups for each in of_seed.values() for digest in each}
    return len(every) > 1 and not _all_equal(groups)


def _digests(group: Group, section: Sequence[str]) -> dict[Any, set[str]]:
    """The digests of the rows of a group, by the seed that draws the data."""
    found: dict[Any, set[str]] = {}
    for run in group.runs:
        data: Mapping[str, Any] = run.manifest["data"]
        for name in section:
            data = data.get(name, {})
        found.setdefault(option_of(run.recipe, SEEDS[1]), set()).add(str(data.get("sha256")))
    return found


def _of_terms(groups: Sequence[Group]) -> Iterator[Remark]:
    """Terms of one name that are not the same loss, or scale their rewards otherwise."""
    objectives = [by_name(group.recipe.get("objective")) or {} for group in groups]
    for label in dict.fromkeys(label for objective in objectives for label in objective):
        terms = [objective[label] for objective in objectives if label in objective]
        changed = {key for key, _ in differing(terms)}
        told = sorted(changed.intersection((*_VIEWS, *_SCALE)))
        kinds = "loss|rewards/margin|rewards/accuracy" if changed.intersection(_VIEWS) else "loss|rewards/margin"
        if told:
            pattern = rf"(eval/preference/)?({kinds})/{re.escape(label)}(/|$)"
            differ = f"{', '.join(told)} {'differs' if len(told) == 1 else 'differ'}"
            yield Remark(f"the term {label} is not the same in all runs: {differ}", pattern)
    if not _all_equal([{label: term.get("weight") for label, term in each.items()} for each in objectives]):
        yield Remark(
            "the runs have different terms or weights: the sum, loss, cannot be compared", r"(eval/preference/)?loss$"
        )


def _of_evaluators(runs: Sequence[StoredRun]) -> Iterator[Remark]:
    """Evaluators of one name that do not measure the same."""
    lists = [dict(map(_named, run.recipe.get("evaluators") or ())) for run in runs]
    for name in dict.fromkeys(name for each in lists for name in each):
        changed = [key for key, _ in differing([each[name] for each in lists if name in each]) if key != "every"]
        if changed:
            yield Remark(
                f"the evaluator {name} has different options: {', '.join(changed)}", rf"eval/{re.escape(name)}/"
            )
    files = [run.manifest.get("evaluators", {}) for run in runs]
    paths = dict.fromkeys(path for each in files for path in each)
    if other := [path for path in paths if not _all_equal([each[path] for each in files if path in each])]:
        more = f" (as have {len(other) - 1:,} others)" if len(other) > 1 else ""
        yield Remark(f"{other[0]}, which an evaluator read, has changed between the runs{more}", "eval/")


def _named(evaluator: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """An evaluator by the beginning of its metrics; those of a benchmark have the benchmark's name."""
    kind, of = str(evaluator.get("evaluator")), evaluator.get("of")
    if not isinstance(of, Mapping):
        return kind, evaluator
    return f"{kind}/{evaluator.get('label') or of.get('benchmark')}", evaluator


def _of_answers(runs: Sequence[StoredRun]) -> Iterator[Remark]:
    """Benchmarks that `mdpo eval` asked with other questions or files."""
    for name in dict.fromkeys(name for run in runs for name in run.results):
        after = [run.results[name][1] for run in runs if name in run.results]
        keys = ("benchmark", "variant", "data")
        rows = [(each.get("answers") or {}).get("rows") for each in after]
        if not _all_equal([[each.get(key) for key in keys] for each in after]) or not _all_equal(rows):
            yield Remark(f"mdpo eval asked other questions of {name} in some runs", rf"{ANSWERED}{re.escape(name)}/")


def _all_equal(values: Sequence[object]) -> bool:
    return all(value == values[0] for value in values)
