"""Draws a picture under every installed corruption, side by side."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from mdpo_core.data.pictures.images import read_image
from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import ImageCorruption
from mdpo_core.registry.discovery import current_registry

if TYPE_CHECKING:
    from PIL.Image import Image

_CELL = 240  # pixels of the longer side
_GAP = 14
_LINE = 17  # pixels from one line of text to the next
_NAME_SIZE, _OPTIONS_SIZE = 15, 11
_HIDDEN = {"draw", "images"}  # options of all corruptions that do not change a single image


class Labelled(NamedTuple):
    """A picture and the lines below it."""

    picture: Image
    name: str
    options: Sequence[str] = ()


class Drawn(NamedTuple):
    """The names of all corruptions: ``names`` are drawn, ``failed`` raised an error, ``others`` could not be drawn."""

    names: list[str]
    failed: dict[str, str]
    others: list[str]


def write_contact_sheet(image: Path, out: Path, seed: int = 0) -> Drawn:
    """Draw a picture without a corruption and under each corruption of single images, with default options.

    The other corruptions follow, faded, with the reason: they need options, or change more than a picture. Raises
    `DataError` if ``image`` cannot be read, if ``out`` is the same file, or if no image format has its ending.
    """
    import PIL.Image

    if PIL.Image.registered_extensions().get(out.suffix.lower()) not in PIL.Image.SAVE:
        raise DataError([Problem(str(out), "", "--out needs the ending of an image format, such as .png or .jpg")])
    picture = _opened(image)
    if out.exists() and out.samefile(image):
        raise DataError(
            [
                Problem(
                    str(out),
                    "",
                    "this is the picture itself, and the sheet would replace it; choose another file with --out",
                )
            ]
        )
    drawn, others = Drawn([], {}, []), []
    cells = [Labelled(picture, "as it is", [f"{picture.width} x {picture.height} pixels"])]
    for name, cls in sorted(current_registry().components("corruption").items()):
        try:
            reason = _why_not(cls)
            if reason is None:
                cells.append(_cell(picture, name, cls(), seed))  # type: ignore[arg-type]
                drawn.names.append(name)
            else:
                others.append(Labelled(_faded(picture), name, reason))
                drawn.others.append(name)
        except Exception as error:  # a mistake in one plugin must not prevent the pictures of the others
            drawn.failed[name] = f"{type(error).__name__}: {error}"
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet([*cells, *others]).save(out)
    return drawn


def _why_not(cls: type[Component]) -> list[str] | None:
    """Why a corruption cannot be drawn on one picture with default options, as lines; None if it can."""
    if not issubclass(cls, ImageCorruption):
        return ["not drawn: it changes or needs", "more than the picture of a row"]
    try:
        cls()
    except ValidationError as error:
        options = [".".join(map(str, each["loc"])) or each["msg"] for each in error.errors()]
        return ["not drawn: it needs options", *_wrapped(options)]
    return None


def _cell(image: Image, name: str, corruption: ImageCorruption, seed: int) -> Labelled:
    import PIL.Image

    corrupted = corruption(image.copy(), random.Random(seed))
    if not isinstance(corrupted, PIL.Image.Image):
        raise TypeError(f"it must return a PIL image; it returned {type(corrupted).__name__}")
    return Labelled(corrupted.convert("RGB"), name, _options(corruption))


def _faded(picture: Image) -> Image:
    import PIL.Image

    return PIL.Image.blend(picture, PIL.Image.new("RGB", picture.size, "white"), 0.85)


def _opened(path: Path) -> Image:
    try:
        return read_image(path)
    except DataError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        text = "the file does not exist" if missing else f"cannot be read as an image ({error})"
        raise DataError([Problem(str(path), "", text)]) from error


def _options(corruption: ImageCorruption) -> list[str]:
    options = corruption.model_dump(mode="json", exclude=_HIDDEN)
    return _wrapped([f"{name} {_short(value)}" for name, value in options.items()])


def _short(value: object) -> str:
    if isinstance(value, list):
        return "-".join(map(_short, value)) if len(value) == 2 else " ".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _wrapped(words: Sequence[str]) -> list[str]:
    """The words in lines that are no wider than a picture."""
    from PIL import ImageFont

    font = ImageFont.load_default(_OPTIONS_SIZE)
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}, {word}" if lines else word
        if lines and font.getlength(longer) <= _CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def contact_sheet(cells: Sequence[Labelled]) -> Image:
    """A nearly square sheet of the pictures, each with its lines below it."""
    import PIL.Image

    shown = [cell._replace(picture=_fitted(cell.picture)) for cell in cells]
    width = max(_CELL, *(cell.picture.width for cell in shown)) + _GAP
    tallest = max(cell.picture.height for cell in shown)
    height = tallest + _LINE * (1 + max(len(cell.options) for cell in shown)) + 2 * _GAP
    num_columns = min(len(shown), math.ceil(math.sqrt(len(shown) * height / width)))
    num_rows = math.ceil(len(shown) / num_columns)
    sheet = PIL.Image.new("RGB", (num_columns * width + _GAP, num_rows * height + _GAP), "white")
    for index, cell in enumerate(shown):
        row, column = divmod(index, num_columns)
        _draw(sheet, cell, (column * width + _GAP, row * height + _GAP), tallest)
    return sheet


def _fitted(picture: Image) -> Image:
    """The picture, resized to a longer side of `_CELL` pixels; the pixels of a small picture show as squares."""
    from PIL.Image import Resampling

    scale = _CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Resampling.NEAREST if scale > 1 else Resampling.LANCZOS)


def _draw(sheet: Image, cell: Labelled, corner: tuple[int, int], tallest: int) -> None:
    from PIL import ImageDraw, ImageFont

    left, top = corner
    sheet.paste(cell.picture, corner)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + tallest + 4), cell.name, "black", ImageFont.load_default(_NAME_SIZE))
    small = ImageFont.load_default(_OPTIONS_SIZE)
    for line, text in enumerate(cell.options, start=1):
        draw.text((left, top + tallest + 6 + line * _LINE), text, "dimgray", small)
