"""A recipe that is being written: values with a remark each, and what could not be carried over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mdpo_core.cli.starting.recipe_text import one_line

SECTIONS = (
    "model",
    "data",
    "validation",
    "objective",
    "train",
    "scoring",
    "reference",
    "backend",
    "evaluators",
    "trackers",
    "output",
)


class Draft:
    """Sections with their lines; ``notes`` are sentences about what the recipe lacks."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._lines: dict[str, list[tuple[str, Any, str]]] = {name: [] for name in SECTIONS}

    def put(self, section: str, key: str, value: Any, why: str = "") -> None:
        """A value of a section that is a mapping; ``key`` is empty if the section is a value itself."""
        self._lines[section].append((key, value, why))

    def add(self, section: str, item: dict[str, Any], why: str = "") -> None:
        """An item of a section that is a list."""
        self._lines[section].append(("-", item, why))

    def note(self, sentence: str) -> None:
        """Something that the recipe lacks, or has in another way."""
        self.notes.append(sentence)

    def has(self, section: str) -> bool:
        """Whether the section has a line."""
        return bool(self._lines[section])

    def text(self, head: Iterable[str]) -> str:
        """The recipe in YAML, below the comment ``head``."""
        comment = (f"# {line}".rstrip() for line in head)
        return "\n".join([*comment, *(line for name in SECTIONS for line in self._section(name)), ""])

    def _section(self, name: str) -> Iterator[str]:
        lines = self._lines[name]
        if lines and lines[0][0]:
            yield f"{name}:"
        for key, value, why in lines:
            start = f"  - {one_line(value)}" if key == "-" else f"  {key}: {one_line(value)}"
            start = start if key else f"{name}: {one_line(value)}"
            yield start + (f"   # {why}" if why else "")
