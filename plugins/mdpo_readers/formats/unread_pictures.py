"""Which columns that nothing reads hold pictures or videos: by their values, and by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from mdpo_readers.embedded import PICTURE_KEYS, has_bytes_of_picture, named_file, names_picture, names_video

_KIND = re.compile(r"video|clip|imag|img|pict|photo|frame|thumb|screens|snapshot|pics?(?![a-z])", re.IGNORECASE)
_VIDEO = re.compile(r"video|clip", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
# A column that ends like this names the picture of another column: image_path beside image.
_NAMES_PICTURE = re.compile(r"_(path|name|file|filename|file_name|id|url|uri|source|src|link)$", re.IGNORECASE)
_KEYS = {*PICTURE_KEYS, "type"}


@lru_cache(maxsize=4096)
def is_picture_column(column: str) -> bool:
    """Whether a column holds pictures or a video, by its name."""
    return bool(_KIND.search(column))


def held_kind(column: str, value: Any, picture_is_read: bool) -> str | None:
    """``picture`` or ``video`` for what a value of a column that nothing reads holds; None for anything else.

    ``picture_is_read``: whether the row has a picture that is read. Then one name of a file in a column whose own name
    says nothing of pictures, such as ``source: boat.png``, only says where that picture is from.
    """
    values = listed(value)
    if not values or isinstance(value, int | float):
        return None
    files = [named_file(each) for each in values]
    kind = "video" if _VIDEO.search(column) or all(map(names_video, files)) else "picture"
    if any(map(has_bytes_of_picture, values)):
        return kind
    if is_picture_column(column):
        if all(names_picture(file) or names_video(file) or _ADDRESS.match(file) for file in files):
            return kind
        # A folder of frames has no ending.
        is_folder = bool(_VIDEO.search(column)) and not _NAMES_PICTURE.search(column) and all(files)
        return kind if is_folder and not picture_is_read else None
    if not all((names_picture(file) or names_video(file)) and " " not in file for file in files):
        return None
    is_meant = isinstance(value, list | Mapping)
    is_bare = all(not isinstance(each, Mapping) or _KEYS.issuperset(each) for each in values)
    return kind if not picture_is_read or (is_meant and is_bare) else None


def files_named(cells: Iterable[Any]) -> list[str]:
    """The names of the files of pictures in some cells; empty text for an embedded one."""
    return [_file_name(each) for cell in cells for each in listed(cell)]


def files_inside(cells: Iterable[Any]) -> list[str]:
    """The names of the files of pictures in the parts of messages; empty text for an embedded one."""
    messages = (message for cell in cells if isinstance(cell, list) for message in cell if isinstance(message, dict))
    contents = (message.get("content") or message.get("value") for message in messages)
    parts = (part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict))
    return [_file_name(part) for part in parts if is_picture_column(str(part.get("type")))]


def is_of_read(column: str, value: Any, files: Sequence[str], pictures: Iterable[str]) -> bool:
    """Whether a column only names a picture that is read: one in the columns ``pictures``, of the name ``files``."""
    names = files_named([value])
    if files and all(name and name in files for name in names):
        return True
    is_name = _NAMES_PICTURE.search(column) and _stem(column) in map(_stem, pictures)
    return bool(files and is_name) and all(map(_is_text, listed(value)))


def listed(value: Any) -> list[Any]:
    """The pictures of a cell, of lists within lists, too; none for an empty cell."""
    if not isinstance(value, list):
        return [] if value is None or value in ("", {}) else [value]
    return [inner for each in value for inner in listed(each)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not has_bytes_of_picture(value)


def _file_name(value: Any) -> str:
    found = named_file(value)
    return PurePosixPath(found.replace("\\", "/").partition("?")[0]).name if found else ""


def _stem(column: str) -> str:
    """``image`` for img_path, images and image_url."""
    return _NAMES_PICTURE.sub("", column).lower().replace("img", "image").removesuffix("s")
