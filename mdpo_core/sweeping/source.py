"""The recipe of a sweep, as the commands take it that the sweep starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdpo_core.sweeping.grid import Point


@dataclass(frozen=True)
class Source:
    """The recipe of a sweep: its file or name, plugins to leave out, and more plugin files."""

    recipe: str
    without: Sequence[str] = ()
    plugins: Sequence[str] = ()

    def words(self, point: Point, run_dir: Path) -> list[str]:
        """The words after ``mdpo-run`` of one run, which begins it or goes on with it."""
        words = [self.recipe]
        words += [word for change in point.changes for word in ("--set", change)]
        words += [word for name in self.without for word in ("--without", name)]
        words += [word for file in self.plugins for word in ("--plugin", file)]
        return [*words, "--run-dir", str(run_dir), "--resume"]
