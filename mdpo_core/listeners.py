"""Tells plugins what happens in a run, from the main process only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mdpo_core.hooks import silent_hooks
from mdpo_core.processes.world import ALONE, World
from mdpo_core.registry.discovery import current_registry


def progress_of(stage: str, world: World = ALONE) -> Callable[[int, int], object]:
    """A function that a stage calls with the work done and the total work. It calls the hook `mdpo_progress`."""

    def report(done: int, total: int) -> None:
        listeners(world).mdpo_progress(stage=stage, done=done, total=total)

    return report


def listeners(world: World) -> Any:
    """The hooks of all plugins in the main process; in other processes, hooks without any plugin."""
    return current_registry().plugins.hook if world.is_main else silent_hooks()
