"""Runs side by side: options that differ, and means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mdpo_core.errors import RecipeError
from mdpo_core.reporting.groups import Group, grouped, seeds_of
from mdpo_core.reporting.options import differing, shown
from mdpo_core.reporting.remarks import Remark, is_speed, remarks_on
from mdpo_core.reporting.stored_run import read_runs
from mdpo_core.reporting.table_text import csv_of, markdown_of
from mdpo_core.storage.files import atomic_write

Row = dict[str, Any]


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Set runs side by side, by their run directories.

    Runs whose recipes differ in ``train.seed`` and ``data.seed`` alone form a group, and get a mean with its interval.

    Raises `RecipeError` if a directory is not a run, has logged nothing or is named twice, and if no number of two
    groups can be compared; `CheckpointError` if a file of a run is damaged.
    """
    if not runs:
        raise RecipeError("there is no run to compare; name one run directory or more")
    comparison = Comparison(grouped(read_runs(runs)))
    comparison.require_common_numbers()
    return comparison


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, what differs between them, and their numbers."""

    groups: Sequence[Group]

    @cached_property
    def options(self) -> dict[str, list[str]]:
        """The options that differ, by path, with the value of each group; seeds and output are left out."""
        found = differing([group.recipe for group in self.groups])
        return {path: [shown(value) for value in values] for path, values in found}

    @property
    def remarks(self) -> list[str]:
        """Sentences on what does not allow to compare the runs number by number; empty if nothing does."""
        return [each.text for each in self._remarks]

    @cached_property
    def _remarks(self) -> list[Remark]:
        return remarks_on(self.groups)

    @cached_property
    def metrics(self) -> list[str]:
        """The numbers that a group has in all of its runs: evaluations first, then training, then the machine."""
        names = dict.fromkeys(name for group in self.groups for name in group.metrics)
        return sorted(names, key=is_speed)

    def is_comparable(self, metric: str) -> bool:
        """Whether no remark speaks against comparing a number between the groups."""
        return not any(remark.concerns(metric) for remark in self._remarks)

    def require_common_numbers(self) -> None:
        """Raise `RecipeError` if nothing that two groups share can be compared."""
        shared = [name for name in self.metrics if sum(name in group.metrics for group in self.groups) > 1]
        if len(self.groups) > 1 and not any(self.is_comparable(name) and not is_speed(name) for name in shared):
            reasons = self.remarks or ["they have no number of the same name"]
            raise RecipeError("\n  ".join(["these runs have nothing that can be compared:", *reasons]))

    def rows(self) -> list[Row]:
        """A mapping for each number of each group.

        Keys: ``metric``, ``group``, ``runs`` (how many), ``before``, ``mean``, ``low``, ``high``, ``comparable``.
        ``mean``: after training; ``low`` and ``high``: the ends of its 95 % interval, None for a single run.
        """
        return [self._row(metric, group) for metric in self.metrics for group in self.groups if metric in group.metrics]

    def _row(self, metric: str, group: Group) -> Row:
        after, before = group.after(metric), group.before(metric)
        low, high = after.interval or (None, None)
        return {
            "metric": metric,
            "group": group.name,
            "runs": after.number,
            "before": None if before is None else before.value,
            "mean": after.value,
            "low": low,
            "high": high,
            "comparable": self.is_comparable(metric),
        }

    def values(self) -> list[Row]:
        """A mapping for each number of each run: ``metric``, ``group``, ``run``, ``seed``, ``before``, ``after``."""
        return [
            {"metric": name, "group": group.name, "run": run.name, "seed": seeds_of(run), **measured._asdict()}
            for group in self.groups
            for run in group.runs
            for name, measured in run.measured.items()
        ]

    def table(self) -> Any:
        """`rows` as a pandas ``DataFrame``; a list of mappings where pandas is not installed."""
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            return self.rows()
        return pandas.DataFrame(self.rows())

    def markdown(self) -> str:
        """Runs, options that differ, remarks, and a table of means with their intervals, a column for each group."""
        return markdown_of(self.groups, self.options, self.remarks, self.rows())

    def csv(self) -> str:
        """`rows` as CSV, with a line of names."""
        return csv_of(self.rows())

    def html(self) -> str:
        """One page without network: the report of a single run; of several, their curves over each other and tables."""
        from mdpo_core.reporting.page.compared_page import compared_page
        from mdpo_core.reporting.page.run_page import run_page

        runs = [run for group in self.groups for run in group.runs]
        if len(runs) == 1:
            return run_page(runs[0])
        return compared_page(self.groups, self.options, self.remarks, self.rows())

    def write(self, path: str | Path) -> None:
        """Write the comparison in the form of the file's ending: ``.html``, ``.md`` or ``.csv``.

        Raises `RecipeError` for another ending.
        """
        path = Path(path)
        made = {".html": self.html, ".md": self.markdown, ".csv": self.csv}.get(path.suffix.lower())
        if made is None:
            raise RecipeError(f"'{path}' must end in .html, .md or .csv, which says what is written")
        atomic_write(path, made().encode(errors="backslashreplace"))
