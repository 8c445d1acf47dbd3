"""Read the images of a row, from files below a root folder or from embedded bytes, as people see them."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import DataError, ImageOptions, note_file, read_image
from mdpo_readers.cell_types import Cell
from mdpo_readers.embedded import base64_of, held

if TYPE_CHECKING:
    from PIL.Image import Image

_FOLDERS = 4  # at the start of a path that may be left out to find its file
# How the names of data sets, models and spaces begin in the hub's cache.
_REPOSITORIES = ("datasets--", "models--", "spaces--")


def images(
    cell: Cell, root: Path, options: ImageOptions | None = None, numbers: Sequence[int] = (), count: int = 0
) -> tuple[Image, ...]:
    """The images of a cell, which contains one image, a list, or none (null, empty text or an empty list).

    An image is a path below ``root``; bytes; base64, bare or in a data URI; or an object with ``bytes``, ``path`` or
    ``url``. ``numbers``: those of the images, from 1, among ``count``, for messages; default: all of the list.
    """
    if cell.value is None or cell.value == "":
        return ()
    values = cell.value if isinstance(cell.value, list) else [cell.value]
    count, found = count or len(values), []
    for number, value in zip(numbers or range(1, len(values) + 1), values, strict=True):
        try:
            found.append(_image(cell._replace(value=value), root, options))
        except DataError as error:
            of_several = f"picture {number} of {count}: " if count > 1 else ""
            raise type(error)([replace(each, message=of_several + each.message) for each in error.problems]) from error
    return tuple(found)


def _image(cell: Cell, root: Path, options: ImageOptions | None) -> Image:
    value = held(cell.value)
    if isinstance(value, str) and (encoded := base64_of(value)) is not None:
        value = _decoded(cell, encoded)
    if isinstance(value, bytes):
        return _read(cell, value, f"an embedded image of {len(value)} bytes", options)
    if isinstance(value, str):
        file = file_inside(cell, value, root)
        return _read(cell, file, f"'{file}'", options)
    raise cell.must_be("a path, or an embedded image with its bytes")


def _decoded(cell: Cell, encoded: str) -> bytes:
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise cell.wrong(f"contains an embedded image whose base64 is damaged: {error}") from error


def file_inside(cell: Cell, path: str, root: Path) -> Path:
    """The absolute path of a file, with links resolved; a file outside of ``root`` is an error, but for `_is_blob`."""
    require_no_address(cell, path, "image")
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
        if full.is_dir():
            raise cell.lacks_file(f"'{full}' is a folder; name a picture in it")
        meant = _meant(path, root) or f"; is data.images ('{root}') the folder that paths start from?"
        raise cell.lacks_file(f"'{full}' does not exist{meant}")
    return full


def require_no_address(cell: Cell, path: str, what: str) -> None:
    """Raise `DataError` if a path is an address. ``what``: ``image`` or ``video``, for the message."""
    if path.lower().startswith("file://"):
        raise cell.wrong(f"'{path}' is the address of a file; write its path below the folder data.images")
    if "://" in path:
        raise cell.wrong(f"'{path}' is a web address; download the {what} into the folder data.images")


def _meant(path: str, root: Path) -> str:
    """``; did you mean 'x'?`` for the file that a path from another system, or from another folder, means."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(min(len(parts), _FOLDERS)):
        found = _in_any_case(root, parts[start:])
        if found is not None and found != root / path:
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
