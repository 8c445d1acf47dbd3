"""What the commands on benchmarks show on a terminal."""

from __future__ import annotations

from types import TracebackType

from rich import box
from rich.console import Console as Terminal
from rich.table import Table

from mdpo_core.benchmarking.comparing import Compared, cells
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


def print_differences(compared: Compared) -> None:
    """Print a table with the metrics before and after training."""
    terminal = Terminal(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for title in (compared.name, "before", "trained", "difference", "95 %"):
        table.add_column(title, justify="left" if not table.columns else "right")
    for found in compared.differences:
        table.add_row(*cells(found))
    terminal.print(table)
