"""The rejected images: what is kept, what is absent, whose picture it is."""

from __future__ import annotations

import colorsys
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageChops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import ValidationError

from mdpo_core import (
    IMAGE_MARK,
    Corruption,
    DataError,
    Example,
    ImageCorruption,
    component,
    count_marks,
    rows_in_random_order,
)
from mdpo_core.testing import check_corruption, images

PROPERTY = settings(deadline=None)
SEEDS = st.integers(0, 2**32)


def corruption(name: str, **options: Any) -> Corruption:
    made = component("corruption", name, **options)
    assert isinstance(made, Corruption)
    return made


def corrupted(image: Image, name: str, seed: int = 0, **options: Any) -> Image:
    made = corruption(name, **options)
    assert isinstance(made, ImageCorruption)
    return made(image, random.Random(seed))


class Counting(random.Random):
    """Counts what is drawn of it."""

    calls = 0

    def randrange(self, *bounds: Any) -> int:
        self.calls += 1
        return super().randrange(*bounds)


def pixels(image: Image) -> NDArray[np.int64]:
    """``(height, width, 3)``, 0 to 255."""
    return np.asarray(image).astype(np.int64)


@cache
def coordinates(width: int, height: int) -> Image:
    """Red tells the column of a pixel and green the row, each from 0 to 255."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    red, green = np.meshgrid(across, down)
    return PIL.Image.fromarray(np.stack([red, green, 0 * red], axis=-1).round().astype(np.uint8))


def shown(cut: Image) -> tuple[tuple[int, int], tuple[int, int]]:
    """The columns and the rows of `coordinates` that a crop shows, first and last, from 0 to 255."""
    (left, top, _), (right, bottom, _) = pixels(cut).min(axis=(0, 1)), pixels(cut).max(axis=(0, 1))
    return (int(left), int(right)), (int(top), int(bottom))


def row(name: str, *pictures: Image, prompt: str | None = None) -> Example:
    text = f"{IMAGE_MARK}\n" * len(pictures) + "What is it?" if prompt is None else prompt
    return Example(name, text, {"chosen": "a temple", "rejected": "a flower"}, pictures)


def colored(color: str) -> Image:
    return PIL.Image.new("RGB", (3, 2), color)


@pytest.mark.parametrize(
    ("name", "options"),
    [("random_crop", {}), ("random_crop", {"area": [0.2, 0.5], "draw": "epoch"}), ("moco_v2", {}), ("other_image", {})],
)
def test_a_random_corruption_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    check_corruption(corruption(name, **options))


@pytest.mark.parametrize("name", ["no_image", "blank"])
def test_a_corruption_without_chance_keeps_the_contract(name: str) -> None:
    check_corruption(corruption(name), varies=False)


@PROPERTY
@given(SEEDS, st.sampled_from([(0.01, 0.2), (0.2, 0.5), (0.9, 1.0)]), st.sampled_from([(320, 213), (150, 450)]))
def test_a_crop_shows_as_much_of_the_picture_as_it_says(
    seed: int, area: tuple[float, float], size: tuple[int, int]
) -> None:
    (left, right), (top, bottom) = shown(corrupted(coordinates(*size), "random_crop", seed, area=area))
    # Levels are whole numbers, and the outermost pixels are half of one inside.
    assert area[0] - 0.02 <= (right - left) * (bottom - top) / 255**2 <= area[1] + 0.02


@PROPERTY
@given(SEEDS)
def test_a_crop_is_as_wide_for_its_height_as_was_asked_for(seed: int) -> None:
    options = {"area": [0.1, 0.2], "aspect": [1.5, 2]}
    (left, right), (top, bottom) = shown(corrupted(coordinates(250, 250), "random_crop", seed, **options))
    assert 1.5 * 0.95 <= (right - left) / (bottom - top) <= 2 * 1.05


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (900, 6)])
def test_crop_of_thin_picture_keeps_size_and_at_most_asked_area(size: tuple[int, int]) -> None:
    for seed in range(20):
        cut = corrupted(PIL.Image.linear_gradient("L").resize(size).convert("RGB"), "random_crop", seed)
        assert cut.size == size
        if size == (1, 2000):
            assert pixels(cut).max() - pixels(cut).min() <= 0.21 * 255


def test_crops_reach_every_edge_of_the_picture() -> None:
    cuts = [shown(corrupted(coordinates(100, 100), "random_crop", seed)) for seed in range(300)]
    for axis in (0, 1):
        assert min(cut[axis][0] for cut in cuts) < 8
        assert max(cut[axis][1] for cut in cuts) > 247


def test_the_paper_s_crop_is_the_default() -> None:
    made = corruption("random_crop").model_dump()
    assert (made["area"], made["aspect"], made["draw"]) == ((0.01, 0.2), (3 / 4, 4 / 3), "once")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": [0.5, 0.2]}, r"area must be \[smallest, largest\], found \[0.5, 0.2\]"),
        ({"aspect": [2, 1]}, r"aspect must be \[smallest, largest\], found \[2.0, 1.0\]"),
        ({"area": [0, 0.2]}, "greater than 0"),
        ({"area": [0.5, 1.2]}, "less than or equal to 1"),
    ],
)
def test_a_crop_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        corruption("random_crop", **options)


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("USER: <image>\nWhat is it? ASSISTANT:", "USER: What is it? ASSISTANT:"),
        ("USER: <image> What is it?", "USER: What is it?"),
        ("<image>\n\nWhat is it?", "\nWhat is it?"),
        ("What is it?\n<image>", "What is it?\n"),
        ("<image>\n<image>\nWhat changed?", "What changed?"),
        ("Is <image>like <image>?", "Is like ?"),
        ("<image>\nIs \\<image> a tag?", "Is \\<image> a tag?"),
    ],
)
def test_no_image_removes_prompt_marks_with_their_separators(prompt: str, left: str) -> None:
    pictures = [colored("red")] * count_marks(prompt)
    gone = corruption("no_image").apply(row("1", *pictures, prompt=prompt), random.Random(0), [])
    assert (gone.prompt, gone.images) == (left, ())


@given(st.tuples(*[st.integers(0, 255)] * 3), images())
def test_blank_is_one_colour_of_the_picture_s_size(color: tuple[int, int, int], image: Image) -> None:
    blank = corrupted(image, "blank", color=color)
    assert blank.size == image.size
    assert blank.getextrema() == tuple((level, level) for level in color)


def test_blank_is_black_unless_it_is_told_otherwise() -> None:
    assert corrupted(colored("red"), "blank").getextrema() == ((0, 0), (0, 0), (0, 0))


@given(SEEDS)
def test_other_image_takes_pictures_of_another_row_with_as_many(seed: int) -> None:
    one, two, three = colored("red"), colored("green"), colored("blue")
    data = [row("a", one), row("b", two), row("c", three), row("d"), row("e", two, three)]
    other = corruption("other_image").apply(data[0], random.Random(seed), data)
    assert other.images in [(two,), (three,)]
    assert (other.id, other.prompt) == ("a", data[0].prompt)


def test_other_image_finds_the_only_other_row_among_thousands() -> None:
    texts = [row(f"text {number}") for number in range(3000)]
    data = [row("a", colored("red")), *texts, row("b", colored("blue")), *texts]
    other = corruption("other_image").apply(data[0], random.Random(0), data)
    assert other.images == data[3001].images


def test_other_image_does_not_favour_row_after_many_unfit_ones() -> None:
    colors = ["red", "green", "blue"]
    data = [row(color, colored(color)) for color in colors] + [row(f"text {number}") for number in range(7)]
    drawn = [corruption("other_image").apply(data[2], random.Random(seed), data) for seed in range(200)]
    assert 70 < sum(other.images == data[0].images for other in drawn) < 130


def test_other_image_draws_all_other_rows() -> None:
    data = [row(str(number), PIL.Image.new("RGB", (1, 1), (number, 0, 0))) for number in range(8)]
    drawn = [corruption("other_image").apply(data[0], random.Random(seed), data) for seed in range(100)]
    assert {int(pixels(other.images[0])[0, 0, 0]) for other in drawn} == set(range(1, 8))


def test_mismatched_finds_rare_prompts_and_favours_no_place() -> None:
    """Among thousands of rows, mismatched finds the other prompts and favours none for its place."""
    prompts = {1000: "First?", 3000: "Second?"}
    data = [row(str(number), prompt=prompts.get(number, "Same?")) for number in range(4000)]
    drawn = [corruption("mismatched").apply(data[0], random.Random(seed), data) for seed in range(40)]
    assert {made.prompt for made in drawn} == {"First?", "Second?"}
    assert 10 < sum(made.prompt == "First?" for made in drawn) < 30


@given(st.integers(1, 300), SEEDS)
def test_rows_in_random_order_are_all_rows_after_some_draws(num_rows: int, seed: int) -> None:
    numbers = list(rows_in_random_order(num_rows, random.Random(seed)))
    assert set(numbers[-num_rows:]) == set(numbers) == set(range(num_rows))
    assert numbers == list(rows_in_random_order(num_rows, random.Random(seed)))


def test_rows_are_drawn_as_they_are_asked_for() -> None:
    counting = Counting(0)
    assert next(rows_in_random_order(10**6, counting)) < 10**6
    assert counting.calls == 2


def test_same_bytes_in_another_shape_are_another_picture() -> None:
    data = [row("a", colored("red")), row("b", colored("red").transpose(PIL.Image.Transpose.ROTATE_90))]
    assert corruption("other_image").apply(data[0], random.Random(0), data).images == data[1].images


@pytest.mark.parametrize("others", [[], [row("b")], [row("b", colored("red"))], [row("a", colored("blue"))]])
def test_other_image_says_so_when_no_row_has_another_picture(others: list[Example]) -> None:
    example = row("a", colored("red"))
    with pytest.raises(DataError, match=rf"example 'a': other_image found none of {len(others) + 1} rows"):
        corruption("other_image").apply(example, random.Random(0), [example, *others])


def test_moco_v2_shifts_hues_by_at_most_a_tenth_of_the_circle() -> None:
    hues = []
    for seed in range(200):
        level = pixels(corrupted(PIL.Image.new("RGB", (8, 8), (180, 60, 60)), "moco_v2", seed))[4, 4]
        hue, saturation, _ = colorsys.rgb_to_hsv(*level.tolist())
        if saturation > 0:
            hues.append((hue + 0.5) % 1 - 0.5)
    assert -0.115 < min(hues) < -0.08
    assert 0.08 < max(hues) < 0.115


def test_moco_v2_is_grey_in_a_fifth_and_mirrored_in_half() -> None:
    picture = PIL.Image.new("RGB", (40, 40), (200, 60, 60))
    picture.paste((60, 60, 200), (20, 0, 40, 40))
    made = np.stack([pixels(corrupted(picture, "moco_v2", seed)) for seed in range(400)])
    red, green, blue = np.moveaxis(made[:, 20], -1, 0)
    grey = ((red == green) & (green == blue)).all(axis=1)
    assert 0.13 < grey.mean() < 0.27
    # Some crops show one half only; of the others, half have the red one on the left.
    redder = (red > blue)[:, [0, -1]]
    straight, mirrored = ((redder == order).all(axis=1).sum() for order in ([True, False], [False, True]))
    assert 0.6 < straight / mirrored < 1.6


def test_moco_v2_shows_a_fifth_of_the_picture_or_more() -> None:
    stripes = PIL.Image.fromarray(np.tile(np.arange(250) // 25 % 2 * 255, (250, 1)).astype(np.uint8)).convert("RGB")
    made = np.stack([pixels(corrupted(stripes, "moco_v2", seed)).sum(axis=-1)[125] for seed in range(100)])
    light = made > (made.min(axis=1, keepdims=True) + made.max(axis=1, keepdims=True)) / 2
    num_stripes = 1 + (light[:, 1:] != light[:, :-1]).sum(axis=1)
    # The narrowest box has a fifth of the area and is 3 to 4: 0.39 of the width.
    assert 4 <= num_stripes.min() <= 5
    assert num_stripes.max() == 10


def test_moco_v2_blurs_as_many_pixels_at_full_size_as_two_at_224() -> None:
    edge = PIL.Image.new("RGB", (512, 512))
    edge.paste((255, 255, 255), (256, 0, 512, 512))
    made = np.stack([pixels(corrupted(edge, "moco_v2", seed)).mean(axis=-1)[256] for seed in range(100)])
    low, high = made.min(axis=1, keepdims=True), made.max(axis=1, keepdims=True)
    rise = (made - low) / (high - low)
    # From a tenth to nine tenths, an edge blurred with sigma is 2.56 sigma wide: 12 pixels for 2 * 512 / 224.
    widths = ((rise > 0.1) & (rise < 0.9)).sum(axis=1)
    assert 0.15 < (widths > 6).mean() < 0.4
    assert 9 <= widths.max() <= 13


def test_photograph_corruptions_are_new_pictures_of_same_size(photographs: Path) -> None:
    for file in sorted(photographs.iterdir()):
        with PIL.Image.open(file) as opened:
            photograph = opened.convert("RGB")
        for name in ("random_crop", "moco_v2", "blank"):
            made = corrupted(photograph, name, seed=3)
            assert made.size == photograph.size
            assert PIL.ImageChops.difference(made, photograph).getbbox() is not None
