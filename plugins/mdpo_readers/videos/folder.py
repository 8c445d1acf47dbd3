"""The frames of a folder, in the order of their numbers."""

from __future__ import annotations

import re
from pathlib import Path

from mdpo_core import note_file
from mdpo_readers.cell_types import Cell
from mdpo_readers.embedded import PICTURE_ENDINGS

PICTURES = tuple(f".{ending}" for ending in PICTURE_ENDINGS)
_SHOWN = 4  # endings in a message
_DIGITS = re.compile(r"(\d+)", re.ASCII)


def frames_in(cell: Cell, folder: Path) -> list[str]:
    """The names of the pictures in a folder, by the numbers in their names: f2 before f10."""
    note_file(folder)
    try:
        files = [file.name for file in folder.iterdir() if file.suffix.lower() in PICTURES]
    except OSError as error:
        raise cell.lacks_file(f"the folder of frames '{folder}' cannot be read: {error.strerror}") from error
    if not files:
        raise cell.wrong(f"the folder of frames '{folder}' has no picture ({', '.join(PICTURES[:_SHOWN])}, ...)")
    return sorted(files, key=_by_number)


def _by_number(name: str) -> tuple[list[str | int], str]:
    """Text and numbers by turns, the first a text: names compare as people count."""
    parts = _DIGITS.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
