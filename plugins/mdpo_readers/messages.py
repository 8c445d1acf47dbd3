"""Questions and answers as pairs have them, and the marks of pictures that nobody wrote."""

from __future__ import annotations

from dataclasses import replace

from mdpo_core import IMAGE_MARK, Prompt, Turn
from mdpo_readers.cell_types import Cell, text


def asked(cell: Cell) -> tuple[Turn, ...]:
    """A bare question: one turn of the user's."""
    return (Turn("user", text(cell)),)


def item(cell: Cell, key: str) -> Cell:
    """The value of a key of an object, None if it is absent; errors name ``column.key``."""
    if not isinstance(cell.value, dict):
        raise cell.must_be("an object")
    return cell._replace(column=f"{cell.column}.{key}", value=cell.value.get(key))


def with_marks(prompt: Prompt, num_images: int, ending: str) -> Prompt:
    """The prompt with a mark for each picture before the first text of the user's, if no mark is there yet."""
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt
    if not num_images or any(IMAGE_MARK in turn.text for turn in turns if turn.role == "user"):
        return prompt
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return prompt
    marked = replace(turns[first], text=IMAGE_MARK * num_images + ending + turns[first].text)
    return marked.text if isinstance(prompt, str) else (*turns[:first], marked, *turns[first + 1 :])
