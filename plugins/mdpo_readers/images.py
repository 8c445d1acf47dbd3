"""Images of a row: found below the root folder or embedded, and decoded to RGB."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import PIL.Image

from mdpo_readers.cell_types import Cell


def images(cell: Cell, root: Path) -> tuple[PIL.Image.Image, ...]:
    """The images of a cell: a path or an embedded image, a list of such, or none (null, empty text or list)."""
    if cell.value is None or cell.value == "":
        return ()
    values = cell.value if isinstance(cell.value, list) else [cell.value]
    return tuple(_image(cell._replace(value=value), root) for value in values)


def _image(cell: Cell, root: Path) -> PIL.Image.Image:
    embedded = isinstance(cell.value, dict)
    content, path = (cell.value.get("bytes"), cell.value.get("path")) if embedded else (None, cell.value)
    if isinstance(content, bytes):
        return _decode(cell, io.BytesIO(content), f"an embedded image of {len(content)} bytes", len(content))
    if isinstance(path, str):
        file = _inside(cell, path, root)
        return _decode(cell, file, f"'{file}'", file.stat().st_size)
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


def _decode(cell: Cell, file: Path | io.BytesIO, name: str, size: int) -> PIL.Image.Image:
    if size == 0:
        raise cell.wrong(f"{name} cannot be used: it is empty")
    try:
        mode, image = _read(file)
    except PIL.UnidentifiedImageError as error:
        raise cell.wrong(f"{name} cannot be used: it is no image that Pillow can read") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise cell.wrong(f"{name} cannot be used: {error or type(error).__name__}") from error
    if mode in ("I", "F") or mode.startswith("I;"):
        # Pillow's way from these to RGB is to clip at 255, which turns most of such an image white.
        raise cell.wrong(f"{name} cannot be used: it has more than 8 bits a pixel (mode {mode}); save it with 8")
    return image


def _read(file: Path | io.BytesIO) -> tuple[str, PIL.Image.Image]:
    """The file's own mode, and its image in RGB, fully decoded."""
    with warnings.catch_warnings():
        # Pillow only warns of an image that is large enough to exhaust the memory.
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(file) as image:
            return image.mode, image.convert("RGB")
