"""Who is told what happens in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mdpo_core.hooks import silent_hooks
from mdpo_core.processes.world import ALONE, World
from mdpo_core.registry import current_registry


def progress_of(stage: str, world: World = ALONE) -> Callable[[int, int], object]:
    """What a stage calls with work done and total work."""

    def report(done: int, total: int) -> None:
        listeners(world).mdpo_progress(stage=stage, done=done, total=total)

    return report


def listeners(world: World) -> Any:
    """Who is told what happens: the plugins of the main process, and nobody in any other."""
    return current_registry().plugins.hook if world.is_main else silent_hooks()
