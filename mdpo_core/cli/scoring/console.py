"""A listener that shows on the terminal how far a command is."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console as Terminal

from mdpo_core.cli.terminal.console import bars
from mdpo_core.cli.terminal.stages import Stages
from mdpo_core.hooks import hookimpl
from mdpo_core.registry.discovery import current_registry


class ProgressShown:
    """Shows the stages that go on as long as its ``with`` lasts."""

    def __init__(self) -> None:
        terminal = Terminal(highlight=False, markup=False, emoji=False)
        self._stages = Stages(terminal, bars(terminal))

    def __enter__(self) -> ProgressShown:
        current_registry().plugins.register(self)
        self._stages.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.stop()
        current_registry().plugins.unregister(self)

    @hookimpl
    def mdpo_progress(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is, and at its end how long it took."""
        self._stages.update(stage, done, total)
        if done == total:
            self._stages.tell(stage)
