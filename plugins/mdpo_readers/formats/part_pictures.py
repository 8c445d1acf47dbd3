"""Pictures in the parts of messages: they must be those of the row, which may stand in a column, too."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from posixpath import basename, normpath
from typing import Any

from mdpo_readers.cell_types import Cell, shown
from mdpo_readers.conversations import image_in, is_image_part, is_video_part, video_in
from mdpo_readers.embedded import base64_of, held
from mdpo_readers.formats.unread_pictures import is_picture_column, listed

_DEEPEST = 6  # lists and objects around a part


def pictures_of_row(read: Iterable[Cell], column: Cell | None) -> Cell | None:
    """The cell with the pictures of a row: its column, or, if that is empty, the first messages that bring some along.

    ``read``: the cells that are read; a part of a message without a picture only says where one stands. Raises
    `DataError` if the parts in one of them show other pictures: none is dropped in silence.
    """
    inside = [(cell, [image_in(part) for part in _parts(cell.value) if is_image_part(part)]) for cell in read]
    filled = {cell.column: _filled(slots) for cell, slots in inside if any(_filled(slots))}
    for cell, slots in inside:
        found = _filled(slots)
        if not found:
            continue
        if column is None or not listed(column.value):
            column = cell._replace(value=found)
        given = column.value if isinstance(column.value, list) else [column.value]
        if not _are_same(slots, given) and not _are_same(found, given):
            raise _differs(cell, found, column, given, column.column.partition(".")[0] in filled)
    return column


def require_same_videos(read: Iterable[Cell], column: Cell | None) -> None:
    """Raise `DataError` if parts of messages show other videos than the column of videos that is read."""
    given = [] if column is None else listed(column.value)
    for cell in read:
        found = listed(_filled(video_in(part) for part in _parts(cell.value) if is_video_part(part)))
        if column is not None and given and found and not _are_same(found, given):
            is_of_messages = cell.column == column.column.partition(".")[0]
            raise _differs(cell, found, column, given, is_of_messages, "video")


def _filled(slots: Iterable[Any]) -> list[Any]:
    return [each for each in slots if each is not None]


def _differs(
    cell: Cell, found: Sequence[Any], column: Cell, given: Sequence[Any], is_of_messages: bool, what: str = "picture"
) -> Exception:
    other = next((each for each in found if not any(_is_same(each, one) for one in given)), found[0])
    if is_of_messages:
        remedy = f"both answers must be about the same {what}s, in the same order: mend one of them, or remove the row"
    else:
        kind = "image" if what == "picture" else what
        remedy = (
            f"keep one of them: write the parts without a {what}, {{type: {kind}}}, one for each of the column, or "
            "empty the column"
        )
    their = ", ".join(shown(held(each)) for each in given)
    return cell.wrong(f"has a part that shows {shown(held(other))}, and '{column.column}' shows {their}; {remedy}")


def _parts(value: Any, depth: int = _DEEPEST) -> Iterator[dict[str, Any]]:
    """The parts with pictures or videos in messages, which may be inside of lists and objects."""
    if depth == 0 or not isinstance(value, list | dict):
        return
    if isinstance(value, dict) and (is_image_part(value) or is_video_part(value)):
        yield value
        return
    for each in value.values() if isinstance(value, dict) else value:
        yield from _parts(each, depth - 1)


def read_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Those of the cells that may have messages: not the pictures themselves."""
    return [cell for cell in cells if not is_picture_column(cell.column)]


def _are_same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether the pictures are the same, one by one; None stands for any."""
    if len(some) != len(others):
        return False
    return all(one is None or _is_same(one, other) for one, other in zip(some, others, strict=True))


def _is_same(one: Any, other: Any) -> bool:
    if one == other or not _names(one).isdisjoint(_names(other)):
        return True
    files = [held(one), held(other)]
    has_address = any(isinstance(each, str) and "://" in each for each in files)
    return has_address and _file(one) == _file(other) != ""


def _names(value: Any) -> set[bytes | str]:
    """The bytes of a picture, and the path of its file."""
    found = held(value)
    path = value.get("path") if isinstance(value, dict) else None
    names: set[bytes | str] = {normpath(path)} if isinstance(path, str) and path else set()
    encoded = base64_of(found) if isinstance(found, str) else None
    if encoded is None:
        return names | ({normpath(found)} if isinstance(found, str) else {found} if isinstance(found, bytes) else set())
    try:
        return names | {b64decode("".join(encoded.split()))}
    except ValueError:
        return names | {encoded}


def _file(value: Any) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    found = path or held(value)
    return basename(found.partition("?")[0]) if isinstance(found, str) and base64_of(found) is None else ""
