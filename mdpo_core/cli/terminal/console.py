"""A listener that shows a run on the terminal: its stages, its steps, and a summary at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mdpo_core import __version__
from mdpo_core.cli.starting.would_train import told_prompts, told_steps
from mdpo_core.cli.terminal.lines import training_line, wrapped
from mdpo_core.cli.terminal.stages import Stages
from mdpo_core.cli.terminal.summary import Trained, print_summary
from mdpo_core.hooks import hookimpl
from mdpo_core.processes.stop_request import RunStopped
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.scoring.reference_store import CACHING
from mdpo_core.words.amounts import counted, duration
from mdpo_core.words.not_yet import NOT_YET, is_not_yet

if TYPE_CHECKING:
    from rich.console import Console as Terminal
    from rich.progress import Progress
    from rich.table import Table

    from mdpo_core.result import RunResult

_EVALUATING = "evaluating"
# Metrics that are in the table at the end, and not in the line of an evaluation.
_FINER = ("loss/", "rewards/margin/", "chosen/", "logps_per_token/")


class Console:
    """Hears a run as long as its ``with`` lasts, and draws it on a terminal.

    Elsewhere, such as in a log file, it prints a line after each tenth of a run.
    """

    def __init__(self, recipe: Recipe) -> None:
        from rich.console import Console as Terminal

        self._recipe = recipe
        self._plugins = current_registry().plugins
        self._terminal = Terminal(highlight=False, markup=False, emoji=False)
        self._stages = Stages(self._terminal, bars(self._terminal))
        self._parts: Mapping[str, Mapping[str, float]] = {}
        self._first = self._last = self._num_steps = 0
        self._cached_rows: list[int] = []
        self._began = self._training = time.monotonic()

    def __enter__(self) -> Console:
        self._plugins.register(self)
        self._stages.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stage = self._stages.going_on()
        self._stages.stop()
        self._plugins.unregister(self)
        if isinstance(error, Exception) and not isinstance(error, RunStopped):
            self._tell_failure(stage)

    @property
    def trains(self) -> bool:
        """Whether the run has reached its first step, so that it can be resumed."""
        return self._num_steps > 0

    def _tell_failure(self, stage: str) -> None:
        """Say where the run was; the error itself is told by the command."""
        places = [f"while {stage}"] if stage else []
        places += [f"after step {self._last} of {self._num_steps}"] if self.trains else []
        if places:
            self._print(f"failed {', '.join(places)}")

    def greet(self, recipe_file: Path, run_dir: Path) -> None:
        """The first line, before anything is loaded."""
        self._print(f"mdpo {__version__}: {recipe_file} -> {run_dir}")
        if told := told_prompts(self._recipe):
            self._print(f"prompts: {told}")
        if told := told_steps(self._recipe):
            self._print(f"steps: {self._recipe.train.max_steps}; {told}")

    def summarize(self, result: RunResult, words: Sequence[str]) -> None:
        """Print what the run did, measured and left, whether it looks healthy, and what comes next.

        ``words``: the recipe and its changes, as they stood after ``mdpo-run``.
        """
        seconds = time.monotonic() - self._began
        steps = (self._first, self._last, self._num_steps)
        trained = Trained(self._parts, *steps, seconds) if self._num_steps else None
        print_summary(self._terminal, self._recipe, result, words, trained)

    @hookimpl
    def mdpo_progress(self, stage: str, done: int, total: int) -> None:
        self._stages.update(stage, done, total)
        if stage == CACHING:
            self._cached_rows = [*self._cached_rows[:1], done]
        # Each measurement of an evaluation has its own progress.
        if done >= total and stage != _EVALUATING:
            self._stages.tell(stage)

    @hookimpl
    def mdpo_model_loaded(self, parts: Mapping[str, Mapping[str, float]]) -> None:
        self._terminal.print(_table_of_parts(parts))
        self._parts = {part: dict(numbers) for part, numbers in parts.items()}

    @hookimpl
    def mdpo_run_started(self, run_dir: Path, first_step: int, num_steps: int) -> None:
        self._first = self._last = first_step
        self._num_steps = num_steps
        self._training = time.monotonic()
        kind = self._recipe.reference_kind()
        reason = f" ({_origin(*self._cached_rows)})" if self._cached_rows else ""
        if kind is not None and self._recipe.reference == "auto":
            reason = f" (auto: {_reason(kind)})"
        start = f", from step {first_step}" if first_step else ""
        self._print(f"run {run_dir}: {counted(num_steps, 'step')}{start}; reference: {kind or 'not needed'}{reason}")
        shown = "the loss, and the accuracy and margin of comparisons"
        self._print(f"training on {', '.join(self._recipe.labels())}; a step shows {shown}")
        self._show_step({})

    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self._last = step
        self._show_step(metrics)
        if not self._terminal.is_terminal and step % math.ceil(self._num_steps / 10) == 0:
            self._print(self._step_line(step, dict(metrics), self._terminal.width))

    @hookimpl
    def mdpo_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        seconds = self._stages.is_over(_EVALUATING)
        took = "" if seconds is None else f" in {duration(seconds)}"
        self._training += seconds or 0.0  # the rest is the time of the steps
        for name, numbers in _by_evaluator(metrics).items():
            self._print(f"evaluated after step {step}{took}: {name}: {numbers}")
            took = ""

    @hookimpl
    def mdpo_stopped_early(self, step: int, reason: str) -> None:
        self._print(f"stopped early, after step {step} of {self._num_steps}: {reason}")

    @hookimpl
    def mdpo_checkpoint_saved(self, step: int) -> None:
        self._last = step
        if step == self._num_steps:
            self._print(
                f"training: {counted(step - self._first, 'step')} in {duration(time.monotonic() - self._training)}"
            )

    def _show_step(self, metrics: Mapping[str, float]) -> None:
        self._stages.show(partial(self._step_line, self._last, dict(metrics)))

    def _step_line(self, step: int, metrics: Mapping[str, float], width: int) -> str:
        finished = step - self._first
        seconds = time.monotonic() - self._training
        left = seconds / finished * (self._num_steps - step) if finished else None
        return training_line(step, self._num_steps, left, metrics, self._recipe.labels(), width)

    def _print(self, line: str) -> None:
        self._terminal.print(wrapped(line, self._terminal.width), soft_wrap=True)


def _by_evaluator(metrics: Mapping[str, float]) -> dict[str, str]:
    """The numbers of each evaluator in a line, without the finer ones: ``loss 0.693  logps/accuracy/picture 0.812``."""
    lines: dict[str, list[str]] = {}
    for key, value in metrics.items():
        _, name, metric = key.split("/", 2)
        if not metric.startswith(_FINER):
            shown = NOT_YET if is_not_yet(key, metrics) else f"{value:.3f}"
            lines.setdefault(name, []).append(f"{metric} {shown}".replace(" ", "\u00a0"))
    return {name: "  ".join(numbers) for name, numbers in lines.items()}


def _reason(kind: str) -> str:
    return "LoRA can be switched off" if kind == "adapter_off" else "without LoRA, the weights themselves train"


def _origin(reused: int, rows: int = 0) -> str:
    """Where the rows of a cached reference come from. ``reused``: rows at the start; ``rows``: rows at the end."""
    computed = max(0, rows - reused)
    counts = (("reused", reused), ("computed", computed))
    return ", ".join(f"{word} {counted(number, 'row')}" for word, number in counts if number)


def _table_of_parts(parts: Mapping[str, Mapping[str, float]]) -> Table:
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


def bars(terminal: Terminal) -> Progress:
    """Rich's display, with a line for each task that the task itself writes for the width of the terminal."""
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Line(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.fields["line"](terminal.width), no_wrap=True, overflow="crop")

    return Progress(Line(), console=terminal, transient=True, disable=not terminal.is_terminal)
