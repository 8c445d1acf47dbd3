"""The contracts of corruptions and readers: what is right passes, what is wrong is caught and named."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import PIL.Image
import pytest
from conftest import PROMPT
from mdpo_corruptions import NoImage
from PIL.Image import Image

from mdpo_core import Corruption, Example, ImageCorruption, Reader
from mdpo_core.testing import PILLOW_MODES, check_corruption, check_reader


class Mirror(ImageCorruption):
    """Mirrors, or turns upside down, or both."""

    def __call__(self, image: Image, rng: random.Random) -> Image:
        turns = [PIL.Image.Transpose.FLIP_LEFT_RIGHT, PIL.Image.Transpose.FLIP_TOP_BOTTOM]
        return image.transpose(rng.choice([*turns, PIL.Image.Transpose.ROTATE_180]))


class Mutating(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        image.putpixel((0, 0), (rng.randrange(256), 1, 2))
        return image


class Global(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        return super().__call__(image, random.Random(random.random()))


class Unseeded(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        return super().__call__(image, random.Random(os.urandom(8)))


class Thumbnail(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        return image.resize((2, 2)).rotate(rng.choice([90, 180]))


class Grey(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        return super().__call__(image, rng).convert("L")


class Same(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        return image.copy()


class Halving(Corruption):
    """Loses a picture and leaves its mark."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(example, images=example.images[1:])


class Renaming(Mirror):
    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(super().apply(example, rng, data), id=f"{example.id} mirrored")


class Forgetting(Mirror):
    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(super().apply(example, rng, data), pictures={})


class Opaque(Mirror):
    """Sound for what readers give."""

    def __call__(self, image: Image, rng: random.Random) -> Image:
        return super().__call__(image.convert("RGB"), rng)


class Whole(Mirror):
    """Does not heed ``images``."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(example, images=tuple(self(image, rng) for image in example.images))


class Misplacing(NoImage):
    """Takes another image away than the one whose mark goes."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return super().apply(replace(example, images=example.images[::-1]), rng, data)


def test_a_sound_corruption_passes() -> None:
    check_corruption(Mirror(), modes=PILLOW_MODES)


def test_modes_that_readers_never_give_are_tried_where_that_is_asked_for() -> None:
    check_corruption(Opaque())
    with pytest.raises(
        AssertionError, match=r"^Opaque makes one of mode RGB and 1x1 of an image of mode L and 1x1 pixels"
    ):
        check_corruption(Opaque(), modes=PILLOW_MODES[1:])


def test_a_corruption_that_takes_the_wrong_image_away_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"^Misplacing with images=0 does not leave image 1 as it is"):
        check_corruption(Misplacing(), varies=False)


@pytest.mark.parametrize(
    ("corruption", "sentence"),
    [
        (Mutating(), "Mutating changes what it is given"),
        (Global(), "Global uses a random generator of the process"),
        (Unseeded(), "Unseeded gives two results for one seed"),
        (Thumbnail(), r"Thumbnail gives images of \[\(2, 2\)\] for images of"),
        (Grey(), r"Grey gives images of modes \['L'\]"),
        (Same(), "Same leaves a row with images of 24x17 as it is"),
        (Halving(), "Halving makes an unfit row of .*: the prompt has 1 <image> marks for 0 images"),
        (Renaming(), "Renaming changes the id of a row"),
        (Forgetting(), "Forgetting changes the pictures of a row"),
        (Whole(), "Whole with images=0 does not leave image 1 as it is"),
    ],
)
def test_a_broken_corruption_is_caught(corruption: Corruption, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_corruption(corruption)


def test_a_corruption_that_never_varies_is_caught_unless_it_says_so() -> None:
    class Upside(Mirror):
        def __call__(self, image: Image, rng: random.Random) -> Image:
            return image.transpose(PIL.Image.Transpose.ROTATE_180)

    check_corruption(Upside(), varies=False)
    with pytest.raises(AssertionError, match="Upside gives one result for 20 seeds"):
        check_corruption(Upside())


def table(num_rows: int = 3) -> list[Example]:
    picture = PIL.Image.new("RGB", (4, 4), "red")
    return [
        Example(str(row), PROMPT, {"chosen": "two", "rejected": "one"}, (picture,), {"score": 1.0})
        for row in range(num_rows)
    ]


class Table(Reader):
    rows: int = 3

    def open(self) -> Sequence[Example]:
        return self.changed(table(self.rows))

    def changed(self, rows: list[Example]) -> list[Example]:
        return rows


def changing(row: int, **fields: Any) -> type[Table]:
    class Changed(Table):
        def changed(self, rows: list[Example]) -> list[Example]:
            return [replace(example, **fields) if place == row else example for place, example in enumerate(rows)]

    return Changed


class Shuffling(Table):
    def changed(self, rows: list[Example]) -> list[Example]:
        class Rows(list[Example]):
            def __getitem__(self, index: Any) -> Any:
                return rows[index] if isinstance(index, slice) else rows[int.from_bytes(os.urandom(2)) % len(rows)]

        return Rows(rows)


class Endless(Table):
    def changed(self, rows: list[Example]) -> list[Example]:
        class Rows(list[Example]):
            def __getitem__(self, index: Any) -> Any:
                return rows[index] if isinstance(index, slice) else rows[index % len(rows)]

        return Rows(rows)


class Forgetful(Table):
    opened: ClassVar[Iterator[int]] = iter(range(100))

    def changed(self, rows: list[Example]) -> list[Example]:
        return [replace(rows[0], id=f"{next(self.opened)}")]


def test_a_sound_reader_passes() -> None:
    check_reader(Table(rows=250))


@pytest.mark.parametrize(
    ("reader", "sentence"),
    [
        (Table(rows=0), "Table gives no rows"),
        (changing(1, id="0")(), "Changed gives the id '0' to rows 0 and 1"),
        (changing(2, id=2)(), "Changed row 2 has the id 2, no text"),
        (changing(1, prompt="no mark")(), "Changed row 1: the prompt has 0 <image> marks for 1 images"),
        (changing(0, images=(PIL.Image.new("L", (2, 2)),))(), r"Changed row 0 has images of modes \['L'\]"),
        (changing(1, columns={"score": 1})(), "Changed row 1 has columns that are no floats: {'score': 1}"),
        (changing(1, columns={})(), r"Changed row 1 has the columns \[\], row 0 \['score'\]"),
        (changing(1, responses={"chosen": "two"})(), r"Changed row 1 has the responses \['chosen'\]"),
        (changing(1, pictures={"other": ()})(), r"Changed row 1 has the pictures \['other'\], row 0 \[\]"),
        (changing(1, pictures={"other": (PIL.Image.new("L", (2, 2)),)})(), "Changed row 1 has images of modes"),
        (changing(1, vectors={"clip": (1,)})(), r"Changed row 1 has vectors of other things than floats: \['clip'\]"),
        (changing(1, boxes={"dogs": ()})(), "Changed row 1: the boxes 'dogs' are those of 0 images, and there are 1"),
        (Shuffling(rows=100), "Shuffling gives the id"),
        (Endless(), "Endless of 3 rows gives a row 3"),
        (Forgetful(), "Forgetful gives other rows when it is opened anew"),
    ],
)
def test_a_broken_reader_is_caught(reader: Reader, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_reader(reader)
