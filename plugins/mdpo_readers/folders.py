"""Videos that are stored as folders of frames."""

from __future__ import annotations

from pathlib import Path

from mdpo_readers.cell_types import Cell, text

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def frames_of(cell: Cell, root: Path, count: int) -> Cell:
    """The paths of at most ``count`` frames of a video, evenly spaced, in the order of their names.

    ``cell``: the name of the folder below ``root``.
    """
    folder = (root / text(cell)).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise cell.wrong(f"'{cell.value}' lies outside of data.images ('{root}')")
    try:
        files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _PICTURES)
    except OSError as error:
        raise cell.wrong(f"the folder of frames '{folder}' cannot be read: {error.strerror}") from error
    if not files:
        raise cell.wrong(f"the folder of frames '{folder}' has no picture")
    return cell._replace(value=[str(Path(text(cell)) / name) for name in spread(files, count)])


def spread(names: list[str], count: int) -> list[str]:
    """At most ``count`` of the names, the first and the last among them, evenly spaced."""
    if len(names) <= count:
        return names
    if count == 1:
        return [names[len(names) // 2]]
    return [names[round(place * (len(names) - 1) / (count - 1))] for place in range(count)]
