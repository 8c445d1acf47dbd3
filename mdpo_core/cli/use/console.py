"""Shows two answers side by side."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdpo_core.use.trained import Answers

_WIDEST = 120  # letters; longer lines are hard to read


def print_side_by_side(answers: Answers) -> None:
    """Print the answer before training and that of the trained model in two columns."""
    terminal = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), width=min(terminal.width, _WIDEST))
    for title in ("before training", "trained"):
        table.add_column(title, ratio=1, overflow="fold")
    table.add_row(Text(answers.untrained or "(empty)"), Text(answers.trained or "(empty)"))
    terminal.print(table)
