"""The tables of coming-from.md: what other trainers call the options of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mdpo_core.recipe.names.other_trainers import TRAINERS, OtherName, other_names

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "coming-from.md"
MARK = "compares them. -->\n"


def page() -> str:
    """The page with its tables written again."""
    return PAGE.read_text().partition(MARK)[0] + MARK + tables()


def tables() -> str:
    """A table for each topic, in Markdown."""
    topics = dict.fromkeys(line.topic for line in other_names())
    return "\n".join("\n".join(_table(topic)) for topic in topics) + "\n"


def _table(topic: str) -> Iterator[str]:
    yield from ("", f"### {topic}", "", "| there | in | here |", "|---|---|---|")
    yield from (_row(line) for line in other_names() if line.topic == topic)


def _row(line: OtherName) -> str:
    keys = ", ".join(f"`{key}`" for key in line.keys)
    here = "; ".join(filter(None, (keys, line.remark.replace("|", "\\|"))))
    names = ", ".join(f"`{name}`" for name in line.names)
    trainers = ", ".join(TRAINERS[each] for each in line.trainers)
    return f"| {names} | {trainers} | {here} |"
