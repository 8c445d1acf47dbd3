"""Pictures of Visual Genome: the file of an image id, in the folders in which the data set comes."""

from __future__ import annotations

import re
from pathlib import Path

from mdpo_readers.cell_types import Cell, name

_FOLDERS = ("VG_100K", "VG_100K_2", "")
_IN_FOLDER = re.compile(r"VG_100K(?:_2)?/[^/]+\Z")


def picture_of(cell: Cell, images: Path) -> Cell:
    """The path of the picture of an id; of several places where it may be, the first if it is nowhere."""
    file = name(cell) if Path(name(cell)).suffix else f"{name(cell)}.jpg"
    there = (folder for folder in _FOLDERS if (images / folder / file).is_file())
    return cell._replace(value=str(Path(next(there, "")) / file))


def here(value: object, images: Path) -> object:
    """A path of the authors' machine from ``VG_100K`` or ``VG_100K_2`` on, if ``images`` has that file."""
    if not isinstance(value, str) or not value.startswith("/") or Path(value).is_relative_to(images.resolve()):
        return value
    found = _IN_FOLDER.search(value)
    return found[0] if found is not None and (images / found[0]).is_file() else value
