"""Marks by which other data sets say where a picture stands: read if the recipe names them, else refused."""

from __future__ import annotations

import re
from dataclasses import replace

from mdpo_core import IMAGE_MARK, OTHER_MARKS, Prompt, count_marks
from mdpo_readers.cell_types import Cell

_OTHERS = re.compile(rf"(?<!\\)(?:{OTHER_MARKS.pattern})", re.IGNORECASE)


def with_own_mark(prompt: Prompt, mark: str) -> Prompt:
    """The prompt or response with ``<image>`` in the place of each ``mark``; one that is plain text stays."""
    if mark == IMAGE_MARK:
        return prompt
    if isinstance(prompt, str):
        return _with_own(prompt, mark)
    return tuple(replace(turn, text=_with_own(turn.text, mark)) for turn in prompt)


def _with_own(text: str, mark: str) -> str:
    # Of a mark that no encoder knows, the backslash would stay in the text.
    before = r"(?<!\\)" if OTHER_MARKS.fullmatch(mark) else ""
    return re.sub(before + re.escape(mark), IMAGE_MARK, text)


def other_mark(text: str) -> str | None:
    """The first mark of another kind in a text; None if there is none, but for such that are plain text."""
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
