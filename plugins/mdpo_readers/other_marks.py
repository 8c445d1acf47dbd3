"""Marks by which other data sets say where a picture stands: read if the recipe names them, else refused."""

from __future__ import annotations

import re
from dataclasses import replace

from mdpo_core import IMAGE_MARK, Prompt, count_marks
from mdpo_readers.cell_types import Cell

_OTHERS = re.compile(
    r"<(?:img|image_?here|image_?placeholder|image_?\d+|img_context|picture)>|<\|(?:image|img)(?:_\d+|_pad)?\|>|"
    r"\[(?:img|image)\]",
    re.IGNORECASE,
)


def with_own_mark(prompt: Prompt, mark: str) -> Prompt:
    """The prompt or response with ``<image>`` in the place of each ``mark``."""
    if mark == IMAGE_MARK:
        return prompt
    if isinstance(prompt, str):
        return prompt.replace(mark, IMAGE_MARK)
    return tuple(replace(turn, text=turn.text.replace(mark, IMAGE_MARK)) for turn in prompt)


def other_mark(text: str) -> str | None:
    """The first mark of another kind in a text; None if there is none."""
    found = _OTHERS.search(text)
    return None if found is None else found[0]


def require_own_mark(cell: Cell, prompt: Prompt, remedy: str) -> None:
    """Raise `DataError`, with the ``remedy``, if the prompt of a row with pictures has only marks of another kind.

    ``{mark}`` in the remedy stands for the mark that was found. ``cell``: the prompt's, for messages.
    """
    texts = [prompt] if isinstance(prompt, str) else [turn.text for turn in prompt]
    if any(map(count_marks, texts)):
        return
    found = next(filter(None, map(other_mark, texts)), None)
    if found is not None:
        raise cell.wrong(f"has no {IMAGE_MARK} mark, but '{found}': {remedy.format(mark=found)}")
