"""Draw a picture of held-out mosaics with the model's captions before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import Example
from mdpo_digits.mosaics import WORDS

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

_NUM_SAMPLES = 10
_TILE, _MARGIN, _TEXT_WIDTH, _COLUMNS = 112, 18, 410, 2
_INK, _PALE, _WRONG = (34, 34, 34), (120, 120, 120), (190, 30, 30)


def draw_samples(
    examples: Sequence[Example],
    truth: Sequence[Sequence[int]],
    before: Sequence[str],
    after: Sequence[str],
    path: Path,
) -> None:
    """Draw the first ten examples into ``path``; wrong digits are red and underlined."""
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    count = min(_NUM_SAMPLES, len(examples))
    rows = -(-count // _COLUMNS)
    cell = (_TILE + _TEXT_WIDTH + 2 * _MARGIN, _TILE + _MARGIN)
    sheet = PIL.Image.new("RGB", (_COLUMNS * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for index in range(count):
        left = _MARGIN + index // rows * cell[0]
        top = _MARGIN + index % rows * cell[1]
        sheet.paste(_enlarged(examples[index].images[0]), (left, top))
        for line, (title, text) in enumerate((("before", before[index]), ("after", after[index]))):
            x, y = left + _TILE + _MARGIN, top + 10 + line * 50
            draw.text((x, y), title, font=font, fill=_PALE)
            _write(draw, font, (x, y + 20), text, truth[index])
    sheet.save(path)


def _enlarged(image: Image) -> Image:
    import PIL.Image

    return image.resize((_TILE, _TILE), PIL.Image.Resampling.NEAREST)


def _write(
    draw: ImageDraw, font: FreeTypeFont | ImageFont, corner: tuple[int, int], text: str, digits: Sequence[int]
) -> None:
    """Write a caption word by word, and mark the digits that are wrong at their position."""
    x, y = corner
    expected = iter(digits)
    for word in text.split():
        wrong = word in WORDS and WORDS.index(word) != next(expected, None)
        width = draw.textlength(word, font=font)
        draw.text((x, y), word, font=font, fill=_WRONG if wrong else _INK)
        if wrong:
            draw.line((x, y + 19, x + width, y + 19), fill=_WRONG, width=2)
        x += int(width) + 5
