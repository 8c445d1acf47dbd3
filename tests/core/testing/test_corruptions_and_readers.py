"""The contracts of corruptions and readers: what is right passes, what is wrong is caught and named."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy
import PIL.Image
import pytest
from mdpo_corruptions import NoImage
from PIL.Image import Image
from support.pairs import PROMPT

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
        return replace(super().apply(example, rng, data), other_images={})


class Opaque(Mirror):
    """Valid for the images that readers give, which are RGB."""

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


def test_a_valid_corruption_passes() -> None:
    check_corruption(Mirror(), modes=PILLOW_MODES)


def test_modes_readers_never_give_are_tried_on_request() -> None:
    check_corruption(Opaque())
    with pytest.raises(
        AssertionError, match=r"^Opaque turns an image of mode L and 1x1 pixels into one of mode RGB and 1x1"
    ):
        check_corruption(Opaque(), modes=PILLOW_MODES[1:])


def test_a_corruption_that_takes_the_wrong_image_away_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"^Misplacing with images=0 changes or removes image 1"):
        check_corruption(Misplacing(), varies=False)


@pytest.mark.parametrize(
    ("corruption", "sentence"),
    [
        (Mutating(), "Mutating changes its input"),
        (Global(), "Global uses a global random generator"),
        (Unseeded(), "Unseeded gives different results for the same seed"),
        (Thumbnail(), r"Thumbnail changes the image sizes from .* to \[\(2, 2\)\]"),
        (Grey(), r"Grey gives images of modes \['L'\]"),
        (Same(), "Same does not change a row with images of 24x17"),
        (Halving(), "Halving turns a row .* into an invalid row: the prompt has 1 <image> marks for 0 images"),
        (Renaming(), "Renaming changes the id of a row"),
        (Forgetting(), "Forgetting changes the other_images of a row"),
        (Whole(), "Whole with images=0 changes or removes image 1"),
    ],
)
def test_a_broken_corruption_is_caught(corruption: Corruption, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_corruption(corruption)


def making(value: Any) -> Corruption:
    class Making(Mirror):
        def __call__(self, image: Image, rng: random.Random) -> Image:
            return value  # type: ignore[no-any-return]

    return Making()


def applying(value: Any) -> Corruption:
    class Applying(Corruption):
        def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
            return value(example)  # type: ignore[no-any-return]

    return Applying()


class Raising(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        raise OSError("no picture")


class RaisingOnPillars(Mirror):
    def __call__(self, image: Image, rng: random.Random) -> Image:
        if image.width < 5:
            raise OSError("too narrow")
        return super().__call__(image, rng)


FIRST_ROW = "a row with images of 24x17 and the seed 0"


@pytest.mark.parametrize(
    ("corruption", "sentence"),
    [
        (
            making(None),
            f"Making returns an invalid Example for {FIRST_ROW}: its images must contain only PIL images, found None",
        ),
        (making("seen"), "Making returns .*: its images must contain only PIL images, found the str 'seen'"),
        (applying(lambda example: None), f"Applying returns None for {FIRST_ROW}; it must return an Example"),
        (applying(lambda example: example.images), "Applying returns the tuple .*; it must return an Example"),
        (
            applying(lambda example: replace(example, responses=None)),
            "Applying returns an invalid Example .*: its responses are None; they must be a mapping",
        ),
        (Raising(), rf"Raising raised OSError: no picture \(.*test_corruptions_and_readers.py:\d+\) for {FIRST_ROW}"),
        (RaisingOnPillars(), "RaisingOnPillars raised OSError: .* for a row with images of 1x1 and the seed 0"),
    ],
)
def test_corruption_error_or_wrong_result_becomes_a_sentence(corruption: Corruption, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_corruption(corruption)


def test_mode_a_corruption_cannot_take_becomes_a_sentence() -> None:
    class Picky(Mirror):
        def __call__(self, image: Image, rng: random.Random) -> Image:
            return super().__call__(image, rng) if image.mode == "RGB" else {}[image.mode]

    with pytest.raises(AssertionError, match=r"^Picky raised KeyError: 'L' .* for an image of mode L and 1x1 pixels"):
        check_corruption(Picky(), modes=["L"])


def test_unvarying_corruption_is_caught_unless_declared() -> None:
    class Upside(Mirror):
        def __call__(self, image: Image, rng: random.Random) -> Image:
            return image.transpose(PIL.Image.Transpose.ROTATE_180)

    check_corruption(Upside(), varies=False)
    with pytest.raises(AssertionError, match="Upside gives the same result for 20 seeds, but varies=True"):
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


def opening(value: Callable[[], Any]) -> Reader:
    return type("Opening", (Reader,), {"open": lambda self: value()})()  # type: ignore[no-any-return]


class Breaking(list[Example]):
    def __getitem__(self, index: Any) -> Any:
        if index == 2:
            raise UnicodeError("row 2 is odd")
        return super().__getitem__(index)


class Named(list[Example]):
    """Knows its rows by their numbers alone."""

    def __getitem__(self, index: Any) -> Any:
        return dict(enumerate(self))[index]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda: None, r"Opening returns None for open\(\); it must return a sequence of Example"),
        (lambda: iter(table()), r"Opening returns a value of type list_iterator for open\(\); it must"),
        (lambda: (row for row in table()), r"Opening returns a value of type generator for open\(\); it must"),
        (lambda: {"rows": table()}, r"Opening returns the dict .* for open\(\); it must return a sequence"),
        (list, "Opening gives no rows"),
        (lambda: [{"id": "0"}], "Opening row 0 is the dict {'id': '0'}, not an Example"),
        (lambda: 1 / 0, r"Opening raised ZeroDivisionError: .* \(.*test_corruptions_and_readers.py:\d+\) in open\(\)"),
        (lambda: Breaking(table()), "Opening raised UnicodeError: row 2 is odd .* for row 2"),
        (lambda: Named(table()), "Opening raised KeyError: -1 .* for row -1"),
    ],
)
def test_reader_error_or_wrong_open_becomes_a_sentence(value: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_reader(opening(value))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"responses": {"chosen": None, "rejected": "one"}}, "the response 'chosen' is None; it must be text or"),
        ({"responses": ("two", "one")}, r"its responses are the tuple \('two', 'one'\); they must be a mapping"),
        ({"prompt": None}, "the prompt is None; it must be text or a tuple of Turn"),
        ({"other_prompts": {"other": [1]}}, r"the other prompt 'other' is the list \[1\]; it must be text"),
        (
            {"images": (numpy.zeros((2, 2, 3)),)},
            "its images must contain only PIL images, found a value of type ndarray",
        ),
        (
            {"images": numpy.zeros((1, 2, 2, 3))},
            "its images must be a tuple of PIL images, found a value of type ndarray",
        ),
        (
            {"other_images": {"other": ("a.png",)}},
            "its other images 'other' must contain only PIL images, found the str 'a.png'",
        ),
        ({"columns": None}, "its columns are None; they must be a mapping"),
        ({"vectors": {"clip": None}}, "its vector 'clip' must be a tuple of floats, found None"),
        (
            {"boxes": {"dogs": ((0, 0, 1, 1),)}},
            "its boxes 'dogs' of an image must contain only Box objects, found the int 0",
        ),
        (
            {"boxes": {"dogs": (None,)}},
            "its boxes 'dogs' must contain only tuples of Box, one for each image, found None",
        ),
    ],
)
def test_row_field_of_wrong_type_becomes_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^Changed row 0: {sentence}"):
        check_reader(changing(0, **fields)())


def test_a_valid_reader_passes() -> None:
    check_reader(Table(rows=250))


@pytest.mark.parametrize(
    ("reader", "sentence"),
    [
        (Table(rows=0), "Table gives no rows"),
        (changing(1, id="0")(), "Changed gives the id '0' to rows 0 and 1"),
        (changing(2, id=2)(), "Changed row 2 has the id 2; an id must be non-empty text"),
        (changing(1, prompt="no mark")(), "Changed row 1: the prompt has 0 <image> marks for 1 images"),
        (changing(0, images=(PIL.Image.new("L", (2, 2)),))(), r"Changed row 0 has images of modes \['L'\]"),
        (changing(1, columns={"score": 1})(), "Changed row 1 has columns that are not floats: {'score': 1}"),
        (changing(1, columns={})(), r"Changed row 1 has the columns \[\], but row 0 has \['score'\]"),
        (changing(1, responses={"chosen": "two"})(), r"Changed row 1 has the responses \['chosen'\]"),
        (
            changing(1, other_images={"other": ()})(),
            r"Changed row 1 has the other_images \['other'\], but row 0 has \[\]",
        ),
        (changing(1, other_images={"other": (PIL.Image.new("L", (2, 2)),)})(), "Changed row 1 has images of modes"),
        (
            changing(1, vectors={"clip": (1,)})(),
            r"Changed row 1 has vectors with elements that are not floats: \['clip'\]",
        ),
        (changing(1, boxes={"dogs": ()})(), "Changed row 1: the boxes 'dogs' are for 0 images, but the row has 1"),
        (Shuffling(rows=100), "Shuffling gives the id"),
        (Endless(), "Endless has 3 rows but gives a row 3; it must raise IndexError"),
        (Forgetful(), "Forgetful gives different rows when it is opened again"),
    ],
)
def test_a_broken_reader_is_caught(reader: Reader, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_reader(reader)
