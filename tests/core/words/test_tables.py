"""Tables in Markdown: any text stays in its cell."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from markdown import Markdown

from mdpo_core.words.tables import markdown_table

_TEXT = st.text("ab|<>\n", max_size=6).map(str.strip)


def test_a_table_has_a_line_for_its_head_and_for_each_row() -> None:
    assert markdown_table(("name", "value"), [("a|b", "<i>"), ("two\nlines", "")]) == (
        "| name | value |\n|---|---|\n| a\\|b | &lt;i> |\n| two lines |  |"
    )


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(_TEXT, min_size=width, max_size=width), min_size=1)))
def test_a_reader_of_markdown_finds_each_cell_with_its_text(rows: list[list[str]]) -> None:
    head = [f"column {number}" for number in range(len(rows[0]))]
    page = Markdown(extensions=["tables"]).convert(markdown_table(head, rows))
    found = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]]
    shown = [[cell.replace("&lt;", "<").replace("&gt;", ">") for cell in row] for row in found]
    assert shown == [[cell.replace("\n", " ").strip() for cell in row] for row in rows]
