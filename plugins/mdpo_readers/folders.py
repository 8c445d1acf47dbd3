"""Videos that are stored as folders of frames."""

from __future__ import annotations

import re
from pathlib import Path

from mdpo_core import note_file
from mdpo_readers.cell_types import Cell, text

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_DIGITS = re.compile(r"(\d+)", re.ASCII)


def frames_of(cell: Cell, root: Path, count: int) -> Cell:
    """The paths of at most ``count`` frames of a video, evenly spaced, by the numbers in their names: f2 before f10.

    ``cell``: the name of the folder below ``root``.
    """
    folder = _folder(cell, root)
    note_file(folder)
    try:
        files = [file.name for file in folder.iterdir() if file.suffix.lower() in _PICTURES]
    except OSError as error:
        raise cell.lacks_file(f"the folder of frames '{folder}' cannot be read: {error.strerror}") from error
    if not files:
        raise cell.wrong(f"the folder of frames '{folder}' has no picture")
    return cell._replace(value=[str(Path(text(cell)) / name) for name in spread(sorted(files, key=_by_number), count)])


def spread(names: list[str], count: int) -> list[str]:
    """At most ``count`` of the names, the first and the last among them, evenly spaced."""
    if len(names) <= count:
        return names
    if count == 1:
        return [names[len(names) // 2]]
    return [names[round(place * (len(names) - 1) / (count - 1))] for place in range(count)]


def _folder(cell: Cell, root: Path) -> Path:
    """The absolute path of the folder of frames, which lies below ``root``."""
    try:
        folder, outer = (root / text(cell)).resolve(), root.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        # The name is too long, it contains a zero byte, or links form a circle.
        raise cell.must_be(f"the name of a folder of frames ({type(error).__name__})") from error
    if folder == outer:
        raise cell.must_be(f"the name of a folder of frames below data.images ('{root}')")
    if not folder.is_relative_to(outer):
        raise cell.lacks_file(f"'{cell.value}' lies outside of data.images ('{root}')")
    return folder


def _by_number(name: str) -> tuple[list[str | int], str]:
    """Text and numbers by turns, the first a text: names compare as people count."""
    parts = _DIGITS.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
