"""Which of a row's images a corruption touches."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image
from pydantic import ValidationError
from support.paths import RECIPES

from mdpo_core import DataError, Example, ImageCorruption, RecipeError, SelectiveCorruption, component, load_recipe
from mdpo_core.testing import examples

PROPERTY = settings(deadline=None)
SEEDS = st.integers(0, 2**32)
MANY = st.integers(1, 4).flatmap(lambda count: examples(num_images=count))


class Drawing(ImageCorruption):
    """Paints an image in a colour that it draws."""

    def __call__(self, image: Image, rng: random.Random) -> Image:
        from PIL.Image import new

        return new("RGB", image.size, tuple(rng.randbytes(3)))


def touched(example: Example, seed: int, **options: Any) -> list[int]:
    """The numbers of the images that are no more the same object."""
    corrupted = Drawing(**options).apply(example, random.Random(seed), [example])
    pairs = enumerate(zip(example.images, corrupted.images, strict=True))
    return [number for number, (before, after) in pairs if before is not after]


def named(name: str, **options: Any) -> SelectiveCorruption:
    made = component("corruption", name, **options)
    assert isinstance(made, SelectiveCorruption)
    return made


@PROPERTY
@given(MANY, SEEDS)
def test_all_images_are_touched_by_one_generator_in_their_order(example: Example, seed: int) -> None:
    rng = random.Random(seed)
    by_hand = [Drawing()(image, rng) for image in example.images]
    assert list(Drawing().apply(example, random.Random(seed), [example]).images) == by_hand


@PROPERTY
@given(MANY, SEEDS, st.data())
def test_an_image_that_is_not_chosen_is_the_same_object(example: Example, seed: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(example.images) - 1))
    assert touched(example, seed, images=number) == [number]
    assert touched(example, seed, images="first") == [0]
    assert len(touched(example, seed, images="random")) == 1


@pytest.mark.parametrize("name", ["no_image", "other_image"])
@pytest.mark.parametrize("images", ["all", "first", "random", 1])
def test_random_alone_draws_which_image_it_is(name: str, images: str | int) -> None:
    example = Example("a", "<image><image>", {}, (Image(), Image()))
    rng = random.Random(0)
    before = rng.getstate()
    named(name, images=images).selected(example, rng)
    assert (rng.getstate() != before) == (images == "random")


@given(examples(num_images=3))
@settings(deadline=None, max_examples=5)
def test_random_draws_each_image_of_a_row_as_often(example: Example) -> None:
    drawn = Counter(touched(example, seed, images="random")[0] for seed in range(300))
    assert all(60 < drawn[number] < 140 for number in range(3))


@PROPERTY
@given(examples(num_images=0), st.sampled_from(["all", "first", "random", 0, 3]))
def test_a_row_of_text_stays_as_it_is(example: Example, images: str | int) -> None:
    assert Drawing(images=images).apply(example, random.Random(0), [example]) == example


@pytest.mark.parametrize("name", ["blank", "random_crop", "other_image", "no_image"])
@given(example=examples(num_images=2))
@settings(deadline=None, max_examples=5)
def test_an_image_that_the_row_does_not_have_is_named(name: str, example: Example) -> None:
    text = rf"example '{example.id}': a corruption changes image 2, .* \(images: 2\); the row has 2"
    with pytest.raises(DataError, match=text):
        named(name, images=2).apply(example, random.Random(0), [example])


@pytest.mark.parametrize("images", ["last", -1, True, 0.5])
def test_what_chooses_no_image_is_refused(images: Any) -> None:
    with pytest.raises(ValidationError, match="images"):
        named("blank", images=images)


def test_a_recipe_chooses_images_by_word_or_number() -> None:
    for images in ("first", 3):
        made = load_recipe(RECIPES / "quickstart.yaml", [f"corruptions.crop.images={images}"]).corruptions["crop"]
        assert isinstance(made, SelectiveCorruption)
        assert made.images == images
    with pytest.raises(RecipeError, match="'all', 'first' or 'random', or a valid integer; found 'frist'"):
        load_recipe(RECIPES / "quickstart.yaml", ["corruptions.crop.images=frist"])


@PROPERTY
@given(examples(num_images=3), st.integers(0, 2))
def test_no_image_takes_a_mark_out_with_its_image(example: Example, number: int) -> None:
    texts = [f"({place}) <image> " for place in range(3)]
    gone = named("no_image", images=number).apply(
        Example("a", "".join(texts), {}, example.images), random.Random(0), []
    )
    texts[number] = f"({number}) "
    assert gone.prompt == "".join(texts)
    left = [image for place, image in enumerate(example.images) if place != number]
    assert all(one is two for one, two in zip(gone.images, left, strict=True))


@PROPERTY
@given(st.lists(examples(num_images=2), min_size=4, max_size=4, unique_by=lambda row: row.id), st.integers(0, 1))
def test_other_image_takes_the_place_that_it_is_told_to(rows: list[Example], number: int) -> None:
    kept = 1 - number
    try:
        other = named("other_image", images=number).apply(rows[0], random.Random(0), rows)
    except DataError:
        assert all(row.images[number] == rows[0].images[number] for row in rows)
        return
    assert other.images[kept] is rows[0].images[kept]
    assert other.images[number] != rows[0].images[number]
    assert any(other.images[number] is row.images[number] for row in rows[1:])
