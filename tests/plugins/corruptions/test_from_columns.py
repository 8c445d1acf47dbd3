"""Corruptions that take what they put in from the row itself: its other pictures, prompts, vectors and boxes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_corruptions.similar import by_cosine
from PIL.Image import Image
from support.corrupting import in_mode, photograph, pixels, seen

from mdpo_core import Box, Corruption, DataError, Example, component
from mdpo_core.testing import PILLOW_MODES, check_corruption

RED, GREEN, BLUE = (PIL.Image.new("RGB", (20, 10), color) for color in ("red", "green", "blue"))
ROW = Example("7", "<image>\nWhat is it?", {"chosen": "a", "rejected": "b"}, (RED,))
TWO = replace(ROW, prompt="<image><image>\nWhich one?", images=(RED, GREEN))


def make(name: str, **options: Any) -> Corruption:
    made = component("corruption", name, **options)
    assert isinstance(made, Corruption)
    return made


def applied(example: Example, name: str, data: list[Example] | None = None, **options: Any) -> Example:
    return make(name, **options).apply(example, random.Random(0), data or [example])


@pytest.mark.parametrize(
    ("row", "pictures", "images", "expected"),
    [
        (ROW, (BLUE,), "all", (BLUE,)),
        (TWO, (BLUE, RED), "all", (BLUE, RED)),
        (TWO, (BLUE, RED), 1, (RED, RED)),
        (TWO, (BLUE,), 1, (RED, BLUE)),
        (TWO, (BLUE,), "first", (BLUE, GREEN)),
    ],
)
def test_own_picture_of_row_replaces_the_touched_images(
    row: Example, pictures: tuple[Image, ...], images: Any, expected: tuple[Image, ...]
) -> None:
    row = replace(row, other_images={"edited": pictures, "unused": (GREEN,)})
    assert applied(row, "dataset_image", picture="edited", images=images) == replace(row, images=expected)


def test_as_many_pictures_as_images_are_needed() -> None:
    row = replace(TWO, other_images={"edited": (BLUE,)})
    with pytest.raises(
        DataError, match=r"example '7': other_images 'edited' has 1 images, but the row has 2 images and"
    ):
        applied(row, "dataset_image", picture="edited")


def test_other_prompt_asks_about_row_images_or_its_own_picture() -> None:
    row = replace(ROW, other_prompts={"second": "<image>\nAnd here?"}, other_images={"second": (BLUE,)})
    asked = replace(row, prompt="<image>\nAnd here?")
    assert applied(row, "dataset_prompt", prompt="second") == asked
    assert applied(row, "dataset_prompt", prompt="second", picture="second") == replace(asked, images=(BLUE,))
    with pytest.raises(DataError, match=r"example '7': the prompt 'second' has 0 <image> marks for 1 images"):
        applied(replace(row, other_prompts={"second": "And here?"}), "dataset_prompt", prompt="second")


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_region_noise_changes_the_boxes_and_nothing_else(data: st.DataObject) -> None:
    picture = photograph(60, 40)
    edges = [sorted(data.draw(st.tuples(st.floats(0, side), st.floats(0, side)))) for side in picture.size]
    (left, right), (top, bottom) = edges
    box = Box(left, top, max(right, left + 0.01), max(bottom, top + 0.01))
    row = replace(ROW, images=(picture,), boxes={"regions": ((box,),)})
    after = pixels(applied(row, "region_noise", boxes="regions", step=999, schedule="linear").images[0])
    changed = (after != pixels(picture)).any(axis=2)
    inside = np.zeros_like(changed)
    inside[int(box.top) : int(np.ceil(box.bottom)), int(box.left) : int(np.ceil(box.right))] = True
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.9 or inside.sum() < 10


def test_region_noise_over_whole_picture_is_diffusion_noise() -> None:
    picture = photograph(60, 40)
    row = replace(ROW, images=(picture,), boxes={"regions": ((Box(0, 0, 60, 40),),)})
    whole = make("diffusion_noise", step=300).apply(row, random.Random(0), [row])
    assert applied(row, "region_noise", boxes="regions", step=300) == whole


@pytest.mark.parametrize("mode", PILLOW_MODES)
def test_region_noise_in_any_mode_looks_like_diffusion_noise(mode: str) -> None:
    picture = in_mode(mode)
    row = replace(ROW, images=(picture,), boxes={"regions": ((Box(10, 10, 50, 40),),)})
    [made] = applied(row, "region_noise", boxes="regions", step=300).images
    [whole] = make("diffusion_noise", step=300).apply(row, random.Random(0), [row]).images
    expected = pixels(seen(picture))
    expected[10:40, 10:50] = pixels(seen(whole))[10:40, 10:50]
    # A palette is made anew, of 256 colours.
    assert np.abs(pixels(seen(made)) - expected).mean() < (9 if mode in {"P", "PA"} else 0.01)
    assert (made.mode, made.size) == (mode, picture.size)


def test_image_without_boxes_stays_beside_one_that_has_some() -> None:
    row = replace(TWO, boxes={"regions": ((), (Box(0, 0, 5, 5),))})
    first, second = applied(row, "region_noise", boxes="regions").images
    assert (first == RED, second == GREEN) == (True, False)


@pytest.mark.parametrize("visible", [0, 0.25, 1])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_region_mask_mixes_the_boxes_with_one_colour(mode: str, visible: float) -> None:
    picture = in_mode(mode)
    row = replace(ROW, images=(picture,), boxes={"regions": ((Box(10, 10, 50, 40),),)})
    [made] = applied(row, "region_mask", boxes="regions", visible=visible, color=[80, 80, 80]).images
    expected = pixels(seen(picture)).astype(float)
    expected[10:40, 10:50, :3] = visible * expected[10:40, 10:50, :3] + (1 - visible) * 80
    assert np.abs(pixels(seen(made))[..., :3] - expected[..., :3]).mean() < (9 if mode == "P" else 1)
    assert (made.mode, made.size) == (mode, picture.size)


def with_vector(name: str, *vector: float) -> Example:
    return replace(ROW, id=name, images=(photograph(8, 8).rotate(10 * int(name)),), vectors={"clip": vector})


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 3).filter(any), min_size=2, max_size=6))
def test_rows_are_ordered_by_the_cosine_of_their_vectors(vectors: list[tuple[int, ...]]) -> None:
    data = [with_vector(str(number), *map(float, vector)) for number, vector in enumerate(vectors)]
    own = np.array(vectors[0])
    cosines = [
        float(own @ np.array(vectors[row])) / float(np.linalg.norm(own) * np.linalg.norm(vectors[row]))
        for row in by_cosine(data[0], data, "clip")
    ]
    assert np.allclose(cosines, sorted(cosines, reverse=True))
    assert len(cosines) == len(data)


def test_most_similar_image_has_nearest_embedding_despite_looks() -> None:
    data = [with_vector("0", 1, 0), with_vector("1", 0, 1), with_vector("2", 5, 1), replace(ROW, id="3")]
    options = {"choose": "most_similar", "embedding": "clip"}
    assert applied(data[0], "other_image", data, **options).images == data[2].images
    assert applied(data[1], "other_image", data, **options).images == data[2].images


def test_zero_or_uneven_embeddings_are_named_with_their_row() -> None:
    """Embeddings without a direction, or of several lengths, are named with their row."""
    options = {"choose": "most_similar", "embedding": "clip"}
    for vector, text in (((0.0, 0.0), "contains only zeros"), ((1.0,), "has 1 numbers, but earlier rows have 2")):
        data = [with_vector("0", 1, 0), with_vector("1", *vector)]
        with pytest.raises(DataError, match=f"example '1': the vector 'clip' {text}"):
            applied(data[0], "other_image", data, **options)
    data = [with_vector("0", 1, 0), with_vector("1", 1, 0)]
    with pytest.raises(DataError, match="example '2': the vector 'clip' has 1 numbers, but other rows have 2"):
        applied(with_vector("2", 1), "other_image", data, **options)


def test_an_embedding_is_of_no_use_to_a_random_row() -> None:
    with pytest.raises(ValueError, match="choose: most_similar"):
        make("other_image", embedding="clip")


@pytest.mark.parametrize("options", [{"picture": None}, {"picture": "other"}])
def test_other_prompts_keep_contract_with_and_without_pictures(options: dict[str, Any]) -> None:
    check_corruption(make("dataset_prompt", prompt="other", **options), varies=False)


def test_embeddings_keep_the_contract() -> None:
    check_corruption(make("other_image", choose="most_similar", embedding="embedding"), varies=False)
