"""Columns with pictures, videos, preferences or tools that nothing reads: refused, never passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mdpo_readers.cell_types import Cell, holds_tools, shown
from mdpo_readers.embedded import has_bytes_of_picture

_KIND = re.compile(r"video|clip|imag|img|pict|photo|frame|pics?(?![a-z])", re.IGNORECASE)
_VIDEO = re.compile(r"video|clip", re.IGNORECASE)
_FILE = re.compile(
    r"\.(jpe?g|png|gif|webp|bmp|tiff?|avif|jp2|heic|mp4|webm|avi|mov|mkv)(\?.*)?$|^https?://", re.IGNORECASE
)
# A column that ends like this names the picture of another column: image_path beside image.
_NAMES_PICTURE = re.compile(r"_(path|name|file|filename|file_name|id|url|uri|source|src|link)$", re.IGNORECASE)
_PREFERENCE = {
    *("preference", "preferences", "preferred", "label", "labels", "winner", "winners", "choice", "better", "best"),
    *("safer", "vote", "votes", "verdict", "judgment", "judgement", "rank", "ranks", "ranking", "overall", "chosen"),
}
_RATING = {"score", "scores", "rating", "ratings", "reward", "rewards", "rank", "preference", "votes"}
_NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<which>\d+|[ab]|left|right|first|second|one|two)$", re.IGNORECASE)
_ANSWERS_SHOWN = 2
_TOOLS = ("tools", "functions")


@dataclass(frozen=True)
class Unread:
    """What a reader reads of a table, and what it may leave unread.

    ``read``: columns that are read. ``pictures``: those of them with pictures. ``answers``: the columns of the answers,
    if the reader takes their order as it is. ``allowed``: columns that the recipe leaves unread (``data.unread``).
    ``has_options``: options of the reader say which columns hold what.
    """

    read: frozenset[str]
    pictures: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    has_options: bool = True

    def is_watched(self, column: str, has_pictures: bool) -> bool:
        """Whether a column has to be looked at, though nothing reads it: by its name, or because it has pictures."""
        if column in self.read or column in self.allowed:
            return False
        return has_pictures or column in _TOOLS or bool(_KIND.search(column)) or self._is_preference(column)

    def require_none(self, where: str, values: Mapping[str, Any]) -> None:
        """Raise `DataError` if a stored row has a picture, a video, a preference or tools that nothing reads."""
        shown_files = self._files_read(values)
        for column, value in values.items():
            if column in self.read or column in self.allowed or _is_empty(value):
                continue
            cell = Cell(where, column, value)
            if column in _TOOLS:
                require_no_tools(cell)
            if self._is_preference(column):
                raise cell.wrong(self._preference_problem(cell))
            kind = _held(column, value, bool(shown_files))
            if kind is not None and not self._is_of_read(column, value, shown_files):
                raise cell.wrong(self._picture_problem(cell, kind))

    def _files_read(self, values: Mapping[str, Any]) -> list[str]:
        """The names of the files of pictures that are read in this row; empty text for an embedded one."""
        cells = [values.get(column) for column in self.pictures]
        return [_file_name(each) for cell in cells if not _is_empty(cell) for each in _listed(cell)]

    def _is_of_read(self, column: str, value: Any, files: Sequence[str]) -> bool:
        """Whether a column only names the picture that is read."""
        names = [_file_name(each) for each in _listed(value)]
        if files and all(name and name in files for name in names):
            return True
        stems = {_stem(read) for read in self.pictures}
        is_name = _NAMES_PICTURE.search(column) and _stem(column) in stems
        return bool(files and is_name) and all(map(_is_text, _listed(value)))

    def _is_preference(self, column: str) -> bool:
        numbers = _numbers(self.answers)
        if not numbers:
            return False
        match = _NUMBERED.fullmatch(column)
        if match and match["which"].lower() in numbers and match["stem"].lower().rstrip("_") in _RATING:
            return True
        return not _PREFERENCE.isdisjoint(re.split(r"[^a-z]+", column.lower()))

    def _preference_problem(self, cell: Cell) -> str:
        answers = " and ".join(f"'{name}'" for name in self.answers[:_ANSWERS_SHOWN])
        return (
            f"says {shown(cell.value)} of {answers}, which the recipe takes in this order, and nothing reads it; write "
            "the better answer into a column of its own, or, if the order is right in every row, set "
            f"data.unread: [{cell.column}]"
        )

    def _picture_problem(self, cell: Cell, kind: str) -> str:
        way = f"read it with data.video: {cell.column}, or "
        if kind == "picture":
            named = f"give it a name in data.other_images: {{NAME: {cell.column}}}"
            way = f"read it with data.image: {cell.column}, {named}, or "
        if not self.has_options:
            way = "this format has no such column: read the file with reader: pairs, or "
        return (
            f"holds a {kind} that nothing reads: {shown(cell.value)}; {way}leave it out: data.unread: [{cell.column}]"
        )


def require_no_tools(cell: Cell) -> None:
    """Raise `DataError` if a column that nothing reads holds tools."""
    if holds_tools(cell.value):
        raise cell.wrong(
            "holds tools, which cannot be trained on yet; remove the row or the column, or leave it out: "
            f"data.unread: [{cell.column}]"
        )


def _held(column: str, value: Any, picture_is_read: bool) -> str | None:
    """``picture`` or ``video`` for what a value of a column holds; None for anything else."""
    values = list(_listed(value))
    if not values:
        return None
    kind = "video" if _VIDEO.search(column) else "picture"
    if any(map(has_bytes_of_picture, values)):
        return kind
    if not _KIND.search(column):
        return None
    if all(_FILE.search(_path(each)) for each in values):
        return kind
    # A folder of frames has no ending.
    is_folder = kind == "video" and not _NAMES_PICTURE.search(column) and all(map(_path, values))
    return kind if is_folder and not picture_is_read else None


def _listed(value: Any) -> Iterable[Any]:
    """The pictures of a cell, of lists within lists, too."""
    if not isinstance(value, list):
        return (value,)
    return [inner for each in value if each is not None for inner in _listed(each)]


def _path(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("path") or value.get("url")
    return value if isinstance(value, str) else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not has_bytes_of_picture(value)


def _file_name(value: Any) -> str:
    return PurePosixPath(_path(value).replace("\\", "/").partition("?")[0]).name if _path(value) else ""


def _stem(column: str) -> str:
    """``image`` for img_path, images and image_url."""
    return _NAMES_PICTURE.sub("", column).lower().replace("img", "image").removesuffix("s")


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _numbers(answers: Sequence[str]) -> set[str]:
    """``{1, 2}`` for answers that only a number or a letter tells apart; empty for answers that have names."""
    found = [_NUMBERED.fullmatch(name) for name in answers]
    matches = [match for match in found if match is not None]
    if len(answers) < 2 or len(matches) < len(answers) or len({match["stem"].lower() for match in matches}) > 1:
        return set()
    return {match["which"].lower() for match in matches}


def watch(
    read: Iterable[str], pictures: Iterable[str], allowed: Iterable[str], answers: Iterable[str] | None = None
) -> Unread:
    """What is watched of a table of which these columns are read. ``answers``: None for a format with a name."""
    return Unread(frozenset(read), tuple(pictures), tuple(answers or ()), frozenset(allowed), answers is not None)


def is_picture_column(column: str) -> bool:
    """Whether a column holds pictures or a video, by its name."""
    return bool(_KIND.search(column))
