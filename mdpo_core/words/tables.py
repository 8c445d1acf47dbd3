"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without a line break at its end. Each cell shows its text as it is, on one line."""
    lines = [f"| {' | '.join(map(markdown_text, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def markdown_text(text: str) -> str:
    """A text on one line, in which nothing parts cells or is taken for HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
