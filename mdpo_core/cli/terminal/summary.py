"""What a run says at its end: what it trained, what it measured, whether that looks healthy, and what comes next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.terminal.answers import answers_before_and_after
from mdpo_core.cli.terminal.lines import wrapped
from mdpo_core.cli.terminal.stages import Terminal
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.reporting.health import verdict
from mdpo_core.reporting.known import known_of
from mdpo_core.storage.exported import best_of
from mdpo_core.storage.metrics_file import MetricsFile, SamplesFile
from mdpo_core.training.trackers import failures_in
from mdpo_core.words.amounts import counted, duration
from mdpo_core.words.not_yet import NOT_YET, NOT_YET_MEANS, is_not_yet

if TYPE_CHECKING:
    from mdpo_core.result import RunResult

_FILES = {
    "report.html": "all of this on a page, with curves and pictures",
    "final": "the model, for plain transformers or peft",
    "best": "the model that was best by output.keep_best",
    "samples.jsonl": "answers at every evaluation",
    "samples.png": "answers before and after",
    "probe.json": "log-probs before training, for the probe",
    "curves.png": "loss and rewards over time",
    "metrics.jsonl": "every logged step",
    "checkpoints": "the run can resume from these",
    "quarantine.jsonl": "rows that were left out, and why",
}
_OF_SEED = re.compile(r"-seed\d+$")  # what this summary put behind a run directory


@dataclass(frozen=True)
class Trained:
    """What this process trained: the steps after ``first`` up to ``last`` of ``planned``, in ``seconds`` altogether.

    ``parts``: those of the hook `mdpo_model_loaded`.
    """

    parts: Mapping[str, Mapping[str, float]]
    first: int
    last: int
    planned: int
    seconds: float


def print_summary(
    terminal: Terminal, recipe: Recipe, result: RunResult, words: Sequence[str], trained: Trained | None
) -> None:
    """Print the whole summary. ``trained``: None if the run was finished before.

    ``words``: what stood after ``mdpo-run``: the recipe and its changes, without the run directory.
    """
    terminal.print()
    for line in [*_what_trained(recipe, trained), *_unmeasured(recipe, result)]:
        terminal.print(wrapped(line, terminal.width), soft_wrap=True)
    if len(result.evaluations) > 1:
        terminal.print("\n".join(_before_and_after(result.evaluations)), soft_wrap=True)
        before = result.evaluations[min(result.evaluations)]
        if any(is_not_yet(name, before) for name in before):
            terminal.print(wrapped(NOT_YET_MEANS, terminal.width), soft_wrap=True)
    for line in answers_before_and_after(SamplesFile(result.run_dir / "samples.jsonl").records(), terminal.width):
        terminal.print(line, soft_wrap=True)
    for line in _health(recipe, result):
        terminal.print(wrapped(line, terminal.width), soft_wrap=True)
    terminal.print(f"\nin {result.run_dir}:", soft_wrap=True)
    for name, meaning in _FILES.items():
        if (result.run_dir / name).exists():
            said = best_of(result.run_dir / name)
            terminal.print(f"  {name:<17} {meaning}{f': {said}' if said else ''}", soft_wrap=True)
    if shown := list(_shown_by_trackers(recipe, result.run_dir, terminal.width)):
        terminal.print("\n".join(["\ntrackers:", *shown]), soft_wrap=True)
    for line in _needs(recipe, result):
        terminal.print(wrapped(line, terminal.width), soft_wrap=True)
    steps = [f"  {title:<18} {command}" for title, command in _next(recipe, result.run_dir, words).items()]
    terminal.print("\n".join(["\nnext:", *steps]), soft_wrap=True)


def _what_trained(recipe: Recipe, trained: Trained | None) -> Iterator[str]:
    if trained is None:
        yield "this run was finished before: nothing was left to train"
        return
    numbers = sum(part["trained"] for part in trained.parts.values())
    lora = " by LoRA" if any(part["lora_rank"] for part in trained.parts.values()) else ""
    terms = ", ".join(recipe.labels())
    steps = counted(trained.planned, "step")
    steps = f"{trained.last} of {steps}" if trained.last < trained.planned else steps
    here = f" ({trained.last - trained.first} of them now)" if trained.first else ""
    yield f"trained {numbers:,.0f} parameters{lora} on {terms}: {steps}{here} in {duration(trained.seconds)}"


def _unmeasured(recipe: Recipe, result: RunResult) -> Iterator[str]:
    if not any(_is_held_out(name) for found in result.evaluations.values() for name in found):
        held_out = recipe.data.hold_out is not None or recipe.validation is not None
        rows = "" if held_out else "hold_out: {share: 0.02} in data and "
        yield f"no held-out numbers: {rows}the evaluator 'preference' would measure before and after"


def _is_held_out(metric: str) -> bool:
    """Whether an evaluator measured it that the recipe names: the probe's rows may be trained on."""
    return not metric.startswith("eval/probe/")


def _before_and_after(evaluations: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    """The numbers of the first evaluation and of the last one, a line each."""
    first, last = min(evaluations), max(evaluations)
    names = {name: name.removeprefix("eval/") for name in evaluations[last]}
    not_yet = {name for name in names if is_not_yet(name, evaluations[first])}
    title = f"before and after {counted(last, 'step')}"
    width = max(map(len, [title, *names.values()])) + 2
    yield f"{title:<{width}}{'before':>9}{'after':>9}"
    for name, shown in names.items():
        before = NOT_YET if name in not_yet else _rounded(evaluations[first].get(name))
        yield f"  {shown:<{width - 2}}{before:>9}{evaluations[last][name]:>9.3f}"


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _health(recipe: Recipe, result: RunResult) -> list[str]:
    return verdict(MetricsFile(result.run_dir / "metrics.jsonl").records(), known_of(recipe, result.run_dir))


def _shown_by_trackers(recipe: Recipe, run_dir: Path, width: int) -> Iterator[str]:
    """The commands and addresses that show what trackers have, and why one of them has not all of it."""
    failures = failures_in(run_dir)
    for position, tracker in enumerate(recipe.trackers):
        with suppress(Exception):  # whatever a tracker raises, the run is done
            name, failure = tracker.component_name(), failures.get(position)
            said = "" if failure is None else failure.said.removeprefix(f"the tracker '{name}' ")
            if failure is not None and not failure.started:
                yield wrapped(f"  {name:<17} not reached: {said}", width)
                continue
            if command := tracker.shown_by(run_dir):
                yield f"  {name:<17} {command}"
            if said:
                yield wrapped(f"    not all of it: {said}", width)


def _needs(recipe: Recipe, result: RunResult) -> Iterator[str]:
    with code_of(recipe.model, "needed_by_exports"):
        needed = recipe.model.needed_by_exports() if result.final else ""
    if needed:
        yield f"for plain transformers, {needed}"


def _next(recipe: Recipe, run_dir: Path, words: Sequence[str]) -> dict[str, str]:
    """Commands that come next, by what they do."""
    run = shlex.quote(str(run_dir))
    ask = f"mdpo ask {run} --image FILE --prompt TEXT"
    again = shlex.join(["mdpo-run", *_with_next_seed(recipe.train.seed, run_dir, words)])
    merge = {"merge LoRA": f"mdpo export {run} --merge --out {run}-merged"} if recipe.model.has_lora else {}
    return {"ask it": ask, "compare": f"{ask} --base", **merge, "change an option": again}


def _with_next_seed(seed: int, run_dir: Path, words: Sequence[str]) -> Iterator[str]:
    """The words of the run, with the seed after its own, and a run directory that is named for it."""
    following = (seed + 1) % 2**32
    for place, word in enumerate(words):
        is_seed = word.startswith("train.seed=") and words[place - 1] == "--set"
        names_seed = word == "--set" and words[place + 1].startswith("train.seed=")
        if not (is_seed or names_seed):
            yield word
    yield from ("--set", f"train.seed={following}")
    yield from ("--run-dir", f"{_OF_SEED.sub('', str(run_dir))}-seed{following}")
