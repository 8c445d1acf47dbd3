"""A comparison as text: Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdpo_core.reporting.groups import Group, seeds_of
from mdpo_core.words.tables import markdown_table, markdown_text

NOT_COMPARABLE = "\u2020"  # behind the name of a number


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV; None is an empty cell."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def markdown_of(
    groups: Sequence[Group],
    options: Mapping[str, Sequence[str]],
    remarks: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """A comparison as Markdown."""
    names = [group.name for group in groups]
    parts = [markdown_table(("group", "runs", "seeds"), of_groups(groups))]
    if options:
        parts.append(markdown_table(("option", *names), ((path, *values) for path, values in options.items())))
    if remarks:
        parts.append("\n".join(f"- {markdown_text(each)}" for each in remarks))
    parts.append(markdown_table(("metric", "before", *names), metric_lines(rows, names)))
    parts += notes_on(groups, rows)
    return "\n\n".join(parts) + "\n"


def notes_on(groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What explains the table of numbers."""
    notes = []
    if any(len(group.runs) > 1 for group in groups):
        notes.append("Means over seeds, with the 95 % interval of the mean (Student's t).")
    if not all(row["comparable"] for row in rows):
        notes.append(f"{NOT_COMPARABLE}: cannot be compared between the groups, for a reason given above.")
    return notes


def of_groups(groups: Sequence[Group]) -> Iterator[tuple[str, str, str]]:
    """The name of each group, its runs, and their seeds."""
    for group in groups:
        yield group.name, ", ".join(run.name for run in group.runs), "; ".join(map(seeds_of, group.runs))


def metric_lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A line for each number. ``before``: one number if all groups have the same, or else that of each."""
    by_metric: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], {})[row["group"]] = row
    for metric, found in by_metric.items():
        before = dict.fromkeys(number_text(row["before"]) for row in found.values() if row["before"] is not None)
        mark = "" if all(row["comparable"] for row in found.values()) else f" {NOT_COMPARABLE}"
        cells = [mean_text(found[name]) if name in found else "" for name in names]
        yield f"{metric}{mark}", " / ".join(before), *cells


def mean_text(row: Mapping[str, Any]) -> str:
    """A mean with its interval: ``0.123 (0.100 to 0.146)``."""
    mean = number_text(row["mean"])
    return mean if row["low"] is None else f"{mean} ({number_text(row['low'])} to {number_text(row['high'])})"


def number_text(value: float) -> str:
    """A number with three places after the point, or more digits where it is small, and fewer where it is large."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
