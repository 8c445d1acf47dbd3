"""`other_image` with `choose: most_similar`: the row whose picture looks most alike."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_corruptions import similar
from mdpo_corruptions.similar import by_similarity, difference_hash
from PIL import ImageEnhance, ImageFilter, ImageOps
from PIL.Image import Image
from support.corrupting import photograph

from mdpo_core import IMAGE_MARK, Corruption, DataError, Example, component
from mdpo_core.testing import check_corruption, images


def row(name: str, *pictures: Image) -> Example:
    return Example(name, f"{IMAGE_MARK}\n" * len(pictures) + "What is it?", {"chosen": "a", "rejected": "b"}, pictures)


def other(example: Example, data: list[Example], seed: int = 0, **options: Any) -> Example:
    made = component("corruption", "other_image", choose="most_similar", **options)
    assert isinstance(made, Corruption)
    return made.apply(example, random.Random(seed), data)


def opened(folder: Path) -> list[Image]:
    pictures = []
    for file in sorted(folder.iterdir()):
        with PIL.Image.open(file) as picture:
            pictures.append(picture.convert("RGB"))
    return pictures


@settings(deadline=None)
@given(images())
def test_hash_bits_mark_places_lighter_than_right_neighbours(image: Image) -> None:
    levels = np.asarray(image.convert("L").resize((9, 8), PIL.Image.Resampling.BOX)).astype(int)
    bits = (levels[:, :-1] > levels[:, 1:]).ravel()
    assert difference_hash(image) == sum(1 << place for place in np.flatnonzero(bits).tolist())


def test_most_similar_keeps_the_contract() -> None:
    check_corruption(component("corruption", "other_image", choose="most_similar"), varies=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
        lambda picture: picture.resize((171, 130)),
        lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
        lambda picture: picture.crop((4, 3, picture.width - 2, picture.height - 5)),
        lambda picture: PIL.Image.blend(picture, PIL.Image.new("RGB", picture.size, "white"), 0.3),
    ],
)
def test_a_changed_copy_of_a_photograph_is_its_most_similar_one(change: Any, photographs: Path) -> None:
    pictures = opened(photographs)
    for picture in pictures:
        copy = change(picture)
        data = [row("own", picture), *(row(str(place), one) for place, one in enumerate(pictures)), row("copy", copy)]
        assert other(data[0], data).images == (copy,)


def test_every_draw_is_the_same_row() -> None:
    pictures = [photograph(), ImageOps.mirror(photograph()), ImageOps.flip(photograph()), ImageOps.invert(photograph())]
    data = [row(str(place), picture) for place, picture in enumerate(pictures)]
    assert len({other(data[0], data, seed).images[0].tobytes() for seed in range(20)}) == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(images(), min_size=3, max_size=8))
def test_no_other_row_differs_in_fewer_places(pictures: list[Image]) -> None:
    data = [row(str(place), picture) for place, picture in enumerate(pictures)]
    own = difference_hash(pictures[0])
    distances = [bin(own ^ difference_hash(pictures[place])).count("1") for place in by_similarity(data[0], data, [0])]
    assert distances == sorted(distances)
    assert len(distances) == len(data)


def test_similar_skips_rows_of_more_images_and_untouched_places() -> None:
    """Rows with more images are no candidates, and places that stay as they are do not count."""
    one, upside, inverted = photograph(), ImageOps.flip(photograph()), ImageOps.invert(photograph())
    alike = ImageEnhance.Brightness(one).enhance(0.9)
    data = [row("own", one, one), row("alone", alike), row("second", inverted, alike), row("first", alike, inverted)]
    assert other(data[0], data, images="first").images[0] is alike
    assert other(data[0], data, images="first").images[1] is one
    assert other(data[0], data, images=1).images == (one, alike)
    assert other(row("own", one), [row("far", upside), row("alone", alike), data[0]]).images == (alike,)


def test_no_other_picture_is_an_error_that_names_the_row() -> None:
    data = [row("a", photograph()), row("b", photograph()), row("c")]
    with pytest.raises(DataError, match="example 'a': other_image found none of 3 rows"):
        other(data[0], data)


class Counting(list[Example]):
    """Data that count how often they are read from the first row to the last."""

    scans = 0

    def __iter__(self) -> Any:
        self.scans += 1
        return super().__iter__()


def test_pictures_are_read_once_even_if_other_data_intervene() -> None:
    pictures = [photograph(), ImageOps.mirror(photograph()), ImageOps.flip(photograph())]
    data = Counting(row(str(place), picture) for place, picture in enumerate(pictures))
    for number in range(10):
        other(data[number % 3], data)
        held_out = Counting(data[:2])
        other(held_out[0], held_out)
    assert data.scans == 1
    assert len(similar._memory) <= similar._MOST_REMEMBERED
