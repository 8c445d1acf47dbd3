"""Shapes, in a square from (0, 0) at the top left to (1, 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

OWN = "own"  # the colour in which an object comes
STEEL, DARK, WOOD, GLASS = "#b8c0c8", "#26282c", "#8a5a2b", "#a8d8e8"


class Shape(NamedTuple):
    """An ellipse or a rectangle in its box, or a polygon or a line through its points; ``width`` is the line's.

    ``color``: a name of Pillow's, a hex number, or `OWN`.
    """

    form: Literal["ellipse", "rectangle", "polygon", "line"]
    points: tuple[float, ...]
    color: str
    width: float = 0.0


def oval(left: float, top: float, right: float, bottom: float, color: str) -> Shape:
    """An ellipse in a box."""
    return Shape("ellipse", (left, top, right, bottom), color)


def block(left: float, top: float, right: float, bottom: float, color: str) -> Shape:
    """A rectangle."""
    return Shape("rectangle", (left, top, right, bottom), color)


def polygon(color: str, *points: float) -> Shape:
    """The area between points x, y, x, y, and so on."""
    return Shape("polygon", points, color)


def line(color: str, width: float, *points: float) -> Shape:
    """A line through points x, y, x, y, and so on."""
    return Shape("line", points, color, width)
