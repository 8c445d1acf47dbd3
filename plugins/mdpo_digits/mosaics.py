"""Draw mosaics of four handwritten digits, and write and read their captions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Split = Literal["train", "held_out"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Two wordings of one caption: their first words differ, and the picture does not tell which one is used.
STYLES = (("the picture shows", "."), ("i can see", "here ."))
PROMPT = "<image> describe the picture :"
POSITIONS = ("top left", "top right", "bottom left", "bottom right")

_SIDE = 8
_COLUMNS = 43


@dataclass(frozen=True)
class Mosaic:
    """A 32 x 32 RGB picture of four digits, in reading order."""

    image: Image
    digits: tuple[int, ...]


def draw_mosaic(rng: random.Random, split: Split) -> Mosaic:
    """Draw four random digits of a split; no picture of a digit is in both splits."""
    import PIL.Image

    numbers = [rng.choice(_numbers(split)) for _ in POSITIONS]
    image = PIL.Image.new("RGB", (4 * _SIDE, 4 * _SIDE))
    for index, number in enumerate(numbers):
        row, column = divmod(number, _COLUMNS)
        box = (column * _SIDE, row * _SIDE, (column + 1) * _SIDE, (row + 1) * _SIDE)
        tile = _atlas().crop(box).resize((2 * _SIDE, 2 * _SIDE), PIL.Image.Resampling.BILINEAR)
        image.paste(tile.convert("RGB"), (index % 2 * 2 * _SIDE, index // 2 * 2 * _SIDE))
    return Mosaic(image, tuple(_labels()[number] for number in numbers))


def caption(digits: tuple[int, ...], style: int) -> str:
    """The caption of four digits; ``style`` is an index of `STYLES`."""
    start, end = STYLES[style]
    a, b, c, d = (WORDS[digit] for digit in digits)
    return f"{start} a {a} , a {b} , a {c} and a {d} {end}"


def mentioned(text: str) -> tuple[int, ...]:
    """The digits that a caption mentions, in order."""
    return tuple(WORDS.index(word) for word in text.split() if word in WORDS)


def with_mistakes(digits: tuple[int, ...], mistakes: int, rng: random.Random) -> tuple[int, ...]:
    """A copy of ``digits`` in which ``mistakes`` random digits are replaced by other digits."""
    wrong = list(digits)
    for index in rng.sample(range(len(digits)), mistakes):
        wrong[index] = rng.choice([digit for digit in range(10) if digit != digits[index]])
    return tuple(wrong)


@cache
def _numbers(split: Split) -> tuple[int, ...]:
    # Every fifth picture is held out. The file contains one writer after another, so both splits have all writers.
    return tuple(number for number in range(len(_labels())) if (number % 5 == 0) == (split == "held_out"))


@cache
def _labels() -> tuple[int, ...]:
    return tuple(int(label) for label in (_folder() / "labels.txt").read_text().strip())


@cache
def _atlas() -> Image:
    import PIL.Image

    with PIL.Image.open(_folder() / "digits.png") as image:
        return image.convert("L")


def _folder() -> Path:
    return Path(__file__).parent
