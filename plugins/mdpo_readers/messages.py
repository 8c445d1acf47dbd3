"""Questions and answers as pairs have them, and the marks of pictures and videos that nobody wrote."""

from __future__ import annotations

from dataclasses import replace

from mdpo_core import MARK, Prompt, Turn
from mdpo_readers.cell_types import Cell, question


def asked(cell: Cell) -> tuple[Turn, ...]:
    """A bare question: one turn of the user's."""
    return (Turn("user", question(cell)),)


def item(cell: Cell, key: str) -> Cell:
    """The value of a key of an object, None if it is absent; errors name ``column.key``."""
    if not isinstance(cell.value, dict):
        raise cell.must_be("an object")
    return cell._replace(column=f"{cell.column}.{key}", value=cell.value.get(key))


def with_marks(prompt: Prompt, marks: str, ending: str) -> Prompt:
    """The prompt with ``marks`` before the first text of the user's, if no mark is there yet."""
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt
    texts = [turn.text for turn in turns if turn.role == "user"]
    if not marks or any(map(MARK.search, texts)):
        return prompt
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return prompt
    marked = replace(turns[first], text=marks + ending + turns[first].text)
    return marked.text if isinstance(prompt, str) else (*turns[:first], marked, *turns[first + 1 :])
