"""The hooks that a plugin may implement.

``mdpo_components`` offers components. The others only listen: they receive numbers and paths and can change nothing.
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
    """Offer components by the name that recipes use; the base class of each says its kind.

    A name that stands for components of several kinds has a tuple of them.
    """


@hookspec
def mdpo_model_loaded(parts: Mapping[str, Mapping[str, float]]) -> None:
    """The policy is loaded. Of each part: how many numbers are ``trained`` and ``frozen``, the ``lora_rank`` (0: no
    adapters) and the peak ``learning_rate`` (0: frozen).

    What trains whole beside adapters elsewhere is counted twice, as what it was is kept, too, and frozen.
    """


@hookspec
def mdpo_run_started(run_dir: Path, first_step: int, num_steps: int) -> None:
    """Training begins after ``first_step`` finished steps (0, or more when resumed) and ends at ``num_steps``."""


@hookspec
def mdpo_progress(stage: str, done: int, total: int) -> None:
    """A part of the run that is not a training step (checking data, evaluating) has done so much of its work."""


@hookspec
def mdpo_step_finished(step: int, metrics: Mapping[str, float]) -> None:
    """An optimizer step is done; ``metrics`` are those of ``metrics.jsonl``."""


@hookspec
def mdpo_evaluated(step: int, metrics: Mapping[str, float]) -> None:
    """The evaluators have measured the policy after ``step`` steps; keys are ``eval/<evaluator>/<metric>``."""


@hookspec
def mdpo_checkpoint_saved(step: int, path: Path) -> None:
    """A checkpoint is whole and in its place."""


@hookspec
def mdpo_run_finished(run_dir: Path, final: Path) -> None:
    """The run is complete and its model exported to ``final``."""


def silent_hooks() -> pluggy.HookRelay:
    """The hooks, with nobody listening."""
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(sys.modules[__name__])
    return plugins.hook
