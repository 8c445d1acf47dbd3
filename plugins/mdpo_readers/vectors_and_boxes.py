"""Read lists of numbers: vectors, and boxes in the images of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mdpo_core import Box, counted
from mdpo_readers.cell_types import Cell, number

if TYPE_CHECKING:
    from PIL.Image import Image

_BOX = "a box: [left, top, right, bottom], in pixels"


def vector(cell: Cell) -> tuple[float, ...]:
    """The finite numbers in a cell; an empty tuple for null."""
    if cell.value is None:
        return ()
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of numbers")
    return tuple(number(each) for each in _elements(cell))


def boxes(cell: Cell, images: Sequence[Image]) -> tuple[tuple[Box, ...], ...]:
    """The boxes of each image, from a list of boxes (one image), a list of boxes for each image, or null."""
    if cell.value is None or (cell.value == [] and not images):
        return tuple(() for _ in images)
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of boxes, or a list of boxes for each image")
    lists = _elements(cell) if _is_nested(cell.value) else [cell]
    if len(lists) != len(images):
        remedy = "; give a list of boxes for each image: [[[left, top, right, bottom]], []]" if len(images) > 1 else ""
        raise cell.wrong(f"contains boxes for {counted(len(lists), 'image')}, but the row has {len(images)}{remedy}")
    pairs = zip(lists, images, strict=True)
    return tuple(tuple(_box(each, image) for each in _elements(own_boxes)) for own_boxes, image in pairs)


def _is_nested(values: list[Any]) -> bool:
    """Whether the values are lists of boxes, not boxes; `_box` refuses values that are neither."""
    return any(values) and all(isinstance(each, list) and all(isinstance(box, list) for box in each) for each in values)


def _elements(cell: Cell) -> list[Cell]:
    return [cell._replace(column=f"{cell.column}[{index}]", value=value) for index, value in enumerate(cell.value)]


def _box(cell: Cell, image: Image) -> Box:
    if not isinstance(cell.value, list) or len(cell.value) != len(Box._fields):
        raise cell.must_be(_BOX)
    box = Box(*(number(each) for each in _elements(cell)))
    problem = box.problem(image.size)
    if problem is not None:
        raise cell.wrong(problem)
    return box
