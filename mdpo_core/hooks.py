"""The hooks that a plugin can implement.

``mdpo_components`` offers components. The others only listen: they get numbers and paths, and cannot change anything.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pluggy

if TYPE_CHECKING:
    from mdpo_core.interfaces.component import Component

PROJECT = "mdpo"
Components: TypeAlias = "Mapping[str, type[Component] | tuple[type[Component], ...]]"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def mdpo_components() -> Components:  # type: ignore[empty-body]  # a specification has no body
    """Offer component classes, by the name that recipes use. The base class of each determines its kind.

    If components of several kinds have the same name, the value is a tuple of them.
    """


@hookspec
def mdpo_model_loaded(parts: Mapping[str, Mapping[str, float]]) -> None:
    """The policy is loaded.

    For each part: the numbers of ``trained`` and ``frozen`` parameters, the ``lora_rank`` (0: no LoRA) and the peak
    ``learning_rate`` (0: frozen). Modules trained in full beside LoRA count twice: their frozen original is kept.
    """


@hookspec
def mdpo_run_started(run_dir: Path, first_step: int, num_steps: int) -> None:
    """Training begins after ``first_step`` finished steps (0, or more when resumed) and ends at ``num_steps``."""


@hookspec
def mdpo_progress(stage: str, done: int, total: int) -> None:
    """A stage of the run other than training, such as checking data, has done ``done`` of ``total`` units of work."""


@hookspec
def mdpo_step_finished(step: int, metrics: Mapping[str, float]) -> None:
    """An optimizer step is done. ``metrics`` are those of ``metrics.jsonl``."""


@hookspec
def mdpo_evaluated(step: int, metrics: Mapping[str, float]) -> None:
    """The evaluators have measured the policy after ``step`` steps. Keys are ``eval/<evaluator>/<metric>``."""


@hookspec
def mdpo_stopped_early(step: int, reason: str) -> None:
    """``train.stop_early`` has ended training after ``step`` steps. ``reason`` is a sentence for people."""


@hookspec
def mdpo_checkpoint_saved(step: int, path: Path) -> None:
    """A checkpoint of ``step`` steps is complete, in the folder ``path``."""


@hookspec
def mdpo_run_finished(run_dir: Path, final: Path) -> None:
    """The run is complete. Its model was exported to the folder ``final``."""


def silent_hooks() -> pluggy.HookRelay:
    """The hooks without any plugin: calling them has no effect."""
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(sys.modules[__name__])
    return plugins.hook
