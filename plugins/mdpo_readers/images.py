"""Images of a row: found below the root folder or embedded, and read as people see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import DataError, ImageOptions, read_image
from mdpo_readers.cell_types import Cell

if TYPE_CHECKING:
    from PIL.Image import Image


def images(cell: Cell, root: Path, options: ImageOptions | None = None) -> tuple[Image, ...]:
    """The images of a cell: a path or an embedded image, a list of such, or none (null, empty text or list)."""
    if cell.value is None or cell.value == "":
        return ()
    values = cell.value if isinstance(cell.value, list) else [cell.value]
    return tuple(_image(cell._replace(value=value), root, options) for value in values)


def _image(cell: Cell, root: Path, options: ImageOptions | None) -> Image:
    embedded = isinstance(cell.value, dict)
    content, path = (cell.value.get("bytes"), cell.value.get("path")) if embedded else (None, cell.value)
    if isinstance(content, bytes):
        return _read(cell, content, f"an embedded image of {len(content)} bytes", options)
    if isinstance(path, str):
        file = _inside(cell, path, root)
        return _read(cell, file, f"'{file}'", options)
    raise cell.must_be("a path, or an embedded image with its bytes")


def _inside(cell: Cell, path: str, root: Path) -> Path:
    """A path's place on the disk, links followed, which may not lie outside of ``root``."""
    if "://" in path:
        raise cell.wrong(f"'{path}' is an address; images are read from files below data.images: download it")
    try:
        full = (root / path).resolve()
        is_file = full.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        # Too long a name, a zero byte, links in a circle.
        raise cell.must_be(f"the path of a file ({type(error).__name__})") from error
    if not full.is_relative_to(root.resolve()):
        raise cell.wrong(f"'{path}' lies outside of data.images ('{root}'): {full}")
    if not is_file:
        raise cell.wrong(f"'{full}' does not exist; is data.images ('{root}') the folder that paths start from?")
    return full


def _read(cell: Cell, source: Path | bytes, name: str, options: ImageOptions | None) -> Image:
    try:
        return read_image(source, options)
    except DataError as error:
        raise cell.wrong(f"{name} cannot be used: {error}") from error
