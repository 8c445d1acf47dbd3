"""Lists of numbers: vectors, and boxes in the images of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mdpo_core import Box
from mdpo_readers.cell_types import Cell, number

if TYPE_CHECKING:
    from PIL.Image import Image

_BOX = "a box: [left, top, right, bottom], in pixels"


def vector(cell: Cell) -> tuple[float, ...]:
    """Finite numbers; none for null."""
    if cell.value is None:
        return ()
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of numbers")
    return tuple(number(each) for each in _elements(cell))


def boxes(cell: Cell, images: Sequence[Image]) -> tuple[tuple[Box, ...], ...]:
    """The boxes of each image, from a list of boxes (one image), a list of such lists, or null."""
    if cell.value is None or (cell.value == [] and not images):
        return tuple(() for _ in images)
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of boxes, or such a list for each image")
    lists = _elements(cell) if _is_nested(cell.value) else [cell]
    if len(lists) != len(images):
        raise cell.wrong(f"holds the boxes of {len(lists)} images, and the row has {len(images)}")
    return tuple(tuple(_box(each, image) for each in _elements(own)) for own, image in zip(lists, images, strict=True))


def _is_nested(values: list[Any]) -> bool:
    """Whether the values are lists of boxes, not boxes; `_box` refuses values that are neither."""
    return any(values) and all(isinstance(each, list) and all(isinstance(one, list) for one in each) for each in values)


def _elements(cell: Cell) -> list[Cell]:
    return [cell._replace(column=f"{cell.column}[{place}]", value=value) for place, value in enumerate(cell.value)]


def _box(cell: Cell, image: Image) -> Box:
    if not isinstance(cell.value, list) or len(cell.value) != len(Box._fields):
        raise cell.must_be(_BOX)
    box = Box(*(number(each) for each in _elements(cell)))
    problem = box.problem(image.size)
    if problem is not None:
        raise cell.wrong(problem)
    return box
