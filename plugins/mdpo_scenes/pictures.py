"""Draw the picture of a scene."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mdpo_scenes.drawings import DRAWINGS
from mdpo_scenes.drawings.shapes import OWN, Shape
from mdpo_scenes.scenes import ACROSS, Scene, Thing

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SIDE = 72  # pixels of a picture, across and down
CELL = SIDE // ACROSS
_COLORS = {"red": "#e02020", "blue": "#2040e0", "green": "#20a838", "yellow": "#f8d810"}
# The colours of the upper and the lower part of a room.
_BACKGROUNDS = {
    "kitchen": ("#f4ecd0", "#c8b890"),
    "meal": ("#d8b080", "#d8b080"),
    "street": ("#c0d0d8", "#888c90"),
    "park": ("#b0e0f8", "#98d078"),
    "bedroom": ("#d8c8e8", "#b8a0c0"),
    "office": ("#dce4e8", "#a8b4b8"),
    "lounge": ("#f0d8c8", "#c8a088"),
    "farm": ("#c8ecf8", "#c8c878"),
    "beach": ("#90d8f0", "#f0e0a8"),
}
_HORIZON = 0.45  # the share of the upper part
_FINE = 3  # how many times finer a picture is drawn before it is made smaller


class Square(NamedTuple):
    """Where an object is drawn, in pixels of the picture."""

    left: float
    top: float
    size: float


class Drawn(NamedTuple):
    """A picture, RGB of `SIDE` x `SIDE` pixels, and the square of each object."""

    image: Image
    squares: Sequence[Square]


def draw_picture(scene: Scene) -> Drawn:
    """Draw a scene. Sizes, places and colours vary a little with ``scene.look``; each object stays in its cell."""
    import PIL.Image
    from PIL import ImageDraw

    rng = random.Random(scene.look)
    upper, lower = (_shifted(color, _shift(rng, 10)) for color in _BACKGROUNDS[scene.room])
    side = SIDE * _FINE
    canvas = PIL.Image.new("RGB", (side, side), upper)
    ImageDraw.Draw(canvas).rectangle((0, side * _HORIZON, side, side), fill=lower)
    squares = []
    for thing in scene.things:
        square = _square(thing.place, rng)
        _draw_thing(canvas, thing, square, _shift(rng, 14))
        squares.append(square)
    return Drawn(canvas.resize((SIDE, SIDE), PIL.Image.Resampling.BOX), squares)


def _draw_thing(canvas: Image, thing: Thing, square: Square, shift: Sequence[int]) -> None:
    """Draw an object, within its cell: a line may be half its width outside of the square."""
    from PIL import ImageDraw

    row, column = divmod(thing.place, ACROSS)
    left, top, side = column * CELL, row * CELL, CELL * _FINE
    box = (left * _FINE, top * _FINE, left * _FINE + side, top * _FINE + side)
    cell = canvas.crop(box)
    within = Square(square.left - left, square.top - top, square.size)
    for shape in DRAWINGS[thing.kind]:
        color = _COLORS[thing.color] if shape.color == OWN and thing.color else shape.color
        _draw(ImageDraw.Draw(cell), shape, within, _shifted(color, shift))
    canvas.paste(cell, box)


def _square(place: int, rng: random.Random) -> Square:
    size = rng.uniform(0.76, 0.94) * CELL
    left, top = (index * CELL + rng.uniform(0, CELL - size) for index in (place % ACROSS, place // ACROSS))
    return Square(left, top, size)


def _draw(draw: ImageDraw, shape: Shape, square: Square, color: tuple[int, ...]) -> None:
    left, top, size = (value * _FINE for value in square)
    points = [(left if index % 2 == 0 else top) + value * size for index, value in enumerate(shape.points)]
    if shape.form == "ellipse":
        draw.ellipse(points, fill=color)
    elif shape.form == "rectangle":
        draw.rectangle(points, fill=color)
    elif shape.form == "polygon":
        draw.polygon(points, fill=color)
    else:
        draw.line(points, fill=color, width=max(1, round(shape.width * size)), joint="curve")


def _shift(rng: random.Random, most: int) -> list[int]:
    return [rng.randint(-most, most) for _ in range(3)]


def _shifted(color: str, shift: Sequence[int]) -> tuple[int, ...]:
    from PIL import ImageColor

    return tuple(min(255, max(0, value + add)) for value, add in zip(ImageColor.getrgb(color)[:3], shift, strict=True))
