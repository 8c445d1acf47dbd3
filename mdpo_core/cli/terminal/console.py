"""A listener that shows a run on the terminal: a progress bar during the run, a summary at its end."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mdpo_core.cli.terminal.answers import answers_before_and_after
from mdpo_core.cli.terminal.health import findings
from mdpo_core.hooks import hookimpl
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.reference_store import CACHING
from mdpo_core.storage.metrics_file import MetricsFile, SamplesFile

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from mdpo_core.result import RunResult

_FILES = {
    "final": "the model, for plain transformers or peft",
    "best": "the model that was best by output.keep_best",
    "samples.jsonl": "answers at every evaluation",
    "samples.png": "answers before and after",
    "curves.png": "loss and rewards over time",
    "metrics.jsonl": "every logged step",
    "checkpoints": "the run can resume from these",
    "quarantine.jsonl": "rows that were left out, and why",
}

# Metrics that are in the table at the end, and not in the line of an evaluation.
_FINER = ("loss/", "rewards/margin/")


class Console:
    """Shows a progress bar on a terminal; elsewhere, such as in a log file, prints a line after each tenth of a run."""

    def __init__(self, recipe: Recipe) -> None:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._recipe = recipe
        self._terminal = Terminal(highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._terminal,
            transient=True,
            disable=not self._terminal.is_terminal,
        )
        self._stages: dict[str, TaskID] = {}
        self._num_steps = 0
        self._cached_rows: list[int] = []
        self._trained = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Console:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def greet(self, recipe_file: Path, run_dir: Path) -> None:
        """The first line, before anything is loaded."""
        self._terminal.print(f"mdpo {version('mdpo')}: {recipe_file} -> {run_dir}", soft_wrap=True)

    @hookimpl
    def mdpo_progress(self, stage: str, done: int, total: int) -> None:
        self._update(stage, done, total)
        if stage == CACHING:
            self._cached_rows = [*self._cached_rows[:1], done]
        if done >= total:
            self._progress.remove_task(self._stages.pop(stage))

    @hookimpl
    def mdpo_model_loaded(self, parts: Mapping[str, Mapping[str, float]]) -> None:
        self._terminal.print(_parts(parts))
        self._trained = sum(numbers["trained"] for numbers in parts.values())

    @hookimpl
    def mdpo_run_started(self, run_dir: Path, first_step: int, num_steps: int) -> None:
        self._num_steps = num_steps
        kind = self._recipe.reference_kind()
        reason = f" ({_origin(*self._cached_rows)})" if self._cached_rows else ""
        if kind is not None and self._recipe.reference == "auto":
            reason = f" (auto: {_reason(kind)})"
        start = f", from step {first_step}" if first_step else ""
        line = f"run {run_dir}: {num_steps} steps{start}; reference: {kind or 'not needed'}{reason}"
        self._terminal.print(line, soft_wrap=True)
        self._update("training", first_step, num_steps)

    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        numbers = _numbers(metrics)
        self._update("training", step, self._num_steps, numbers)
        if not self._terminal.is_terminal and step % math.ceil(self._num_steps / 10) == 0:
            self._terminal.print(f"step {step}/{self._num_steps}  {numbers}", soft_wrap=True)

    @hookimpl
    def mdpo_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, numbers in _by_evaluator(metrics).items():
            self._terminal.print(f"evaluated after step {step}: {name}: {numbers}", soft_wrap=True)

    @hookimpl
    def mdpo_stopped_early(self, step: int, reason: str) -> None:
        self._terminal.print(f"stopped early, after step {step} of {self._num_steps}: {reason}", soft_wrap=True)

    def _update(self, stage: str, done: int, total: int, numbers: str = "") -> None:
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, numbers="")
        self._progress.update(self._stages[stage], completed=done, total=total, numbers=numbers)

    def summarize(self, result: RunResult, recipe_file: Path) -> None:
        """Print the evaluations before and after, whether the run looks healthy, the files, and the next steps."""
        if self._num_steps:
            minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
            self._terminal.print(f"trained {self._trained:,.0f} numbers in {minutes} min {seconds} s")
        if len(result.evaluations) > 1:
            self._terminal.print(_before_and_after(result.evaluations))
        self._tell_answers(result)
        self._tell_health(result)
        self._terminal.print(f"\nin {result.run_dir}:")
        for name, meaning in _FILES.items():
            if (result.run_dir / name).exists():
                self._terminal.print(f"  {name:<17} {meaning}")
        self._tell_needs(result)
        steps = [f"  {title:<18} {command}" for title, command in self._next(result.run_dir, recipe_file).items()]
        self._terminal.print("\n".join(["\nnext:", *steps]), soft_wrap=True)

    def _tell_answers(self, result: RunResult) -> None:
        lines = SamplesFile(result.run_dir / "samples.jsonl").records()
        for line in answers_before_and_after(lines, self._terminal.width):
            self._terminal.print(line, soft_wrap=True)

    def _tell_needs(self, result: RunResult) -> None:
        with code_of(self._recipe.model, "needed_by_exports"):
            needed = self._recipe.model.needed_by_exports() if result.final else ""
        if needed:
            self._terminal.print(f"for plain transformers, {needed}", soft_wrap=True)

    def _next(self, run_dir: Path, recipe_file: Path) -> dict[str, str]:
        """Commands that come next, by what they do."""
        run = shlex.quote(str(run_dir))
        ask = f"mdpo ask {run} --image FILE --prompt TEXT"
        again = f"mdpo-run {shlex.quote(str(recipe_file))} --set train.seed=1 --run-dir {run}-seed1"
        merge = {"merge LoRA": f"mdpo export {run} --merge --out DIR"} if self._recipe.model.has_lora else {}
        return {"ask it": ask, "compare": f"{ask} --base", **merge, "change an option": again}

    def _tell_health(self, result: RunResult) -> None:
        found = findings(MetricsFile(result.run_dir / "metrics.jsonl").records())
        for finding in found:
            self._terminal.print(f"look at this: {finding}.", soft_wrap=True)
        if not found:
            self._terminal.print("healthy: no chosen reward below 0, no loss that stayed where it began")


def _by_evaluator(metrics: Mapping[str, float]) -> dict[str, str]:
    """The numbers of each evaluator in a line, without the finer ones: ``loss 0.693  picture/accuracy 0.812``."""
    lines: dict[str, list[str]] = {}
    for key, value in metrics.items():
        _, name, metric = key.split("/", 2)
        if not metric.startswith(_FINER):
            lines.setdefault(name, []).append(f"{metric.removeprefix('rewards/')} {value:.3f}")
    return {name: "  ".join(numbers) for name, numbers in lines.items()}


def _reason(kind: str) -> str:
    return "LoRA can be switched off" if kind == "adapter_off" else "without LoRA, the weights themselves train"


def _origin(reused: int, rows: int = 0) -> str:
    """Where the rows of a cached reference come from. ``reused``: rows at the start; ``rows``: rows at the end."""
    computed = max(0, rows - reused)
    counts = (("reused", reused), ("computed", computed))
    return ", ".join(f"{word} {number} rows" for word, number in counts if number)


def _numbers(metrics: Mapping[str, float]) -> str:
    shown = {name: value for name, value in metrics.items() if name == "loss" or _is_reward(name)}
    return "  ".join(f"{name.removeprefix('rewards/')} {value:.3f}" for name, value in shown.items())


def _is_reward(name: str) -> bool:
    return name.startswith("rewards/") and name.count("/") == 1


def _parts(parts: Mapping[str, Mapping[str, float]]) -> Table:
    from rich.table import Table

    table = Table(title="parameters", title_justify="left")
    table.add_column("")
    for name in ("trained", "frozen", "share trained", "LoRA rank", "learning rate"):
        table.add_column(name, justify="right")
    for part, numbers in parts.items():
        rank, rate = int(numbers["lora_rank"]), numbers["learning_rate"]
        settings = [str(rank) if rank else "", f"{rate:.2g}" if rate else ""]
        table.add_row(part, *_counted(numbers["trained"], numbers["frozen"]), *settings)
    table.add_section()
    trained, frozen = (sum(numbers[kind] for numbers in parts.values()) for kind in ("trained", "frozen"))
    table.add_row("all", *_counted(trained, frozen), "", "")
    return table


def _counted(trained: float, frozen: float) -> list[str]:
    return [f"{trained:,.0f}", f"{frozen:,.0f}", f"{trained / max(1, trained + frozen):.2%}"]


def _before_and_after(evaluations: Mapping[int, Mapping[str, float]]) -> Table:
    from rich.table import Table

    first, last = min(evaluations), max(evaluations)
    table = Table(title=f"before and after {last} steps", title_justify="left")
    table.add_column("")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for name, value in evaluations[last].items():
        before = evaluations[first].get(name)
        table.add_row(name.removeprefix("eval/"), "" if before is None else f"{before:.3f}", f"{value:.3f}")
    return table
