"""Read the images of a row, from files below a root folder or from embedded bytes, as people see them."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import DataError, ImageOptions, note_file, read_image
from mdpo_readers.cell_types import Cell

if TYPE_CHECKING:
    from PIL.Image import Image

# PNG, JPEG, GIF, WebP and BMP begin like this in base64. A path of such a name is far shorter.
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk")
# The same formats and TIFF as bytes.
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_SHORTEST_BASE64 = 80
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*", re.ASCII)
_FOLDERS = 4  # at the start of a path that may be left out to find its file
# How the names of data sets, models and spaces begin in the hub's cache.
_REPOSITORIES = ("datasets--", "models--", "spaces--")


def images(cell: Cell, root: Path, options: ImageOptions | None = None) -> tuple[Image, ...]:
    """The images of a cell, which contains one image, a list, or none (null, empty text or an empty list).

    An image is a path below ``root``; bytes; base64, bare or in a data URI; or an object with ``bytes``, ``path`` or
    ``url``.
    """
    if cell.value is None or cell.value == "":
        return ()
    values = cell.value if isinstance(cell.value, list) else [cell.value]
    return tuple(_image(cell._replace(value=value), root, options) for value in values)


def is_embedded(value: object) -> bool:
    """Whether a value is an image itself, as bytes or as base64, not a path."""
    stored = _stored(value)
    return isinstance(stored, bytes) or (isinstance(stored, str) and _base64(stored) is not None)


def has_bytes_of_picture(value: object) -> bool:
    """Whether a value of any column is an image, or a video, with its bytes, which begin like those of one."""
    if isinstance(value, str):
        return value.startswith(("data:image/", "data:video/")) or _is_bare_base64(value)
    held = value.get("bytes") if isinstance(value, dict) else value
    return isinstance(held, bytes) and held.startswith(_STARTS)


def _image(cell: Cell, root: Path, options: ImageOptions | None) -> Image:
    value = _stored(cell.value)
    if isinstance(value, str) and (encoded := _base64(value)) is not None:
        value = _decoded(cell, encoded)
    if isinstance(value, bytes):
        return _read(cell, value, f"an embedded image of {len(value)} bytes", options)
    if isinstance(value, str):
        file = _inside(cell, value, root)
        return _read(cell, file, f"'{file}'", options)
    raise cell.must_be("a path, or an embedded image with its bytes")


def _stored(value: object) -> object:
    """The image that an object holds; any other value as it is."""
    if not isinstance(value, dict):
        return value
    held = [value.get(key) for key in ("bytes", "path", "url")]
    return next((each for each in held if isinstance(each, bytes | str)), value)


def _base64(text: str) -> str | None:
    """The base64 text of an image; None for a path."""
    if text.startswith("data:"):
        return text.partition(",")[2]
    return text if _is_bare_base64(text) else None


def _is_bare_base64(text: str) -> bool:
    starts = text.startswith(_BASE64_STARTS) and len(text) >= _SHORTEST_BASE64
    return starts and _BASE64.fullmatch(text) is not None


def _decoded(cell: Cell, encoded: str) -> bytes:
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise cell.wrong(f"contains an embedded image whose base64 is damaged: {error}") from error


def _inside(cell: Cell, path: str, root: Path) -> Path:
    """The absolute path of a file, with links resolved; a file outside of ``root`` is an error, but for `_is_blob`."""
    if "://" in path:
        raise cell.wrong(f"'{path}' is a web address; download the image into the folder data.images")
    try:
        full = (root / path).resolve()
        is_file = full.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        # The name is too long, it contains a zero byte, or links form a circle.
        raise cell.must_be(f"the path of a file ({type(error).__name__})") from error
    if not full.is_relative_to(root.resolve()) and not (_goes_down(path) and _is_blob(full, root.resolve())):
        raise cell.lacks_file(f"'{path}' lies outside of data.images ('{root}'): {full}{_meant(path, root)}")
    if not is_file:
        note_file(full)
        meant = _meant(path, root) or f"; is data.images ('{root}') the folder that paths start from?"
        raise cell.lacks_file(f"'{full}' does not exist{meant}")
    return full


def _meant(path: str, root: Path) -> str:
    """``; did you mean 'x'?`` for the file that a path from another system, or from another folder, means."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(min(len(parts), _FOLDERS)):
        found = _in_any_case(root, parts[start:])
        if found is not None:
            return f"; did you mean '{found.relative_to(root)}'?"
    return ""


def _in_any_case(folder: Path, parts: Sequence[str]) -> Path | None:
    """The file of these parts, in which lower and upper case may differ."""
    for part in parts:
        try:
            names = [name for name in os.listdir(folder) if name.casefold() == part.casefold()]  # noqa: PTH208
        except OSError:
            return None
        if not names:
            return None
        folder /= part if part in names else sorted(names)[0]
    return folder if folder.is_file() else None


def _goes_down(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _is_blob(file: Path, root: Path) -> bool:
    """Whether ``root`` is a folder of a snapshot in the hub's cache, and ``file`` a file that its links lead to.

    There, ``datasets--NAME/snapshots/REVISION/FILE`` is a link to ``datasets--NAME/blobs/HASH``.
    """
    repository = file.parent.parent
    return (
        file.parent.name == "blobs"
        and repository.name.startswith(_REPOSITORIES)
        and root.is_relative_to(repository / "snapshots")
    )


def _read(cell: Cell, source: Path | bytes, name: str, options: ImageOptions | None) -> Image:
    try:
        return read_image(source, options)
    except DataError as error:
        raise cell.wrong(f"{name} cannot be used: {error}") from error
