"""Runs side by side as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdpo_core.reporting.groups import Group
from mdpo_core.reporting.page.charts import compared_charts
from mdpo_core.reporting.page.frame import charts_html, list_html, section, table_html, whole_page
from mdpo_core.reporting.table_text import metric_lines, notes_on, of_groups


def compared_page(
    groups: Sequence[Group],
    options: Mapping[str, Sequence[str]],
    remarks: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """The whole page."""
    names = [group.name for group in groups]
    charts = compared_charts(groups)
    parts: Iterator[str] = iter(
        (
            section("Runs", table_html(("group", "runs", "seeds"), of_groups(groups))),
            section("What cannot be compared", list_html(remarks, "remarks")),
            section(
                "Options that differ", table_html(("option", *names), [(key, *each) for key, each in options.items()])
            ),
            section("Numbers", table_html(("metric", "before", *names), metric_lines(rows, names))),
            list_html(notes_on(groups, rows)),
            section("Curves", charts_html(charts)),
        )
    )
    return whole_page("Runs side by side", "".join(parts), charts)
