"""Blur, squares, masks, turns and colours, each against arithmetic of its own; and all modes of pictures."""

from __future__ import annotations

import colorsys
import random
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import ValidationError
from support.corrupting import corrupted, image_corruptions, in_mode, photograph, pixels, seen

from mdpo_core import Box, Corruption, Example, component
from mdpo_core.testing import PILLOW_MODES, images

PROPERTY = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 2**32)
SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def gaussian_blur(levels: NDArray[np.int64], sigma: float) -> NDArray[np.float64]:
    reach = int(4 * sigma) + 1
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    padded = np.pad(levels, reach, mode="edge").astype(float)
    for axis in (0, 1):
        padded = np.apply_along_axis(np.convolve, axis, padded, weights / weights.sum(), mode="same")
    return padded[reach:-reach, reach:-reach]


def test_blur_is_gaussian_with_radius_as_share_of_longer_side() -> None:
    image = photograph(200, 140).convert("L")
    made, expected = pixels(corrupted(image, "blur", radius=0.02)), gaussian_blur(pixels(image), 4.0)
    # Pillow takes three box blurs for it.
    assert np.abs(made - expected)[12:-12, 12:-12].mean() < 1.0
    assert np.abs(pixels(image) - expected).mean() > 8


@pytest.mark.parametrize(
    ("size", "squares", "shown"), [((64, 32), 8, (8, 4)), ((30, 90), 9, (3, 9)), ((4, 4), 16, (4, 4))]
)
def test_pixelate_shows_means_of_squares(size: tuple[int, int], squares: int, shown: tuple[int, int]) -> None:
    image = photograph(*size)
    columns, rows = shown
    blocks = pixels(image).reshape(rows, size[1] // rows, columns, size[0] // columns, 3).mean(axis=(1, 3))
    expected = blocks.repeat(size[1] // rows, axis=0).repeat(size[0] // columns, axis=1)
    assert np.abs(pixels(corrupted(image, "pixelate", squares=squares)) - expected).max() <= 1


@PROPERTY
@given(SIZES, SEEDS, st.floats(0.05, 1), st.integers(1, 30))
def test_a_mask_hides_its_share_of_the_patches_and_nothing_else(
    size: tuple[int, int], seed: int, share: float, patches: int
) -> None:
    image = PIL.Image.new("RGB", size, "white")
    hidden = (pixels(corrupted(image, "patch_mask", seed, share=share, patches=patches, color=(9, 8, 7))) != 255).any(
        -1
    )
    columns, rows = (min(side, max(1, round(side * patches / max(size)))) for side in size)
    centers = np.ix_(*[(2 * np.arange(n) + 1) * side // (2 * n) for n, side in ((rows, size[1]), (columns, size[0]))])
    assert hidden[centers].sum() == round(share * rows * columns)
    # A patch is hidden as a whole: along each side there are no more changes than edges between patches.
    for axis, count in ((0, rows), (1, columns)):
        changes = (np.diff(hidden, axis=axis) != 0).any(axis=1 - axis).sum()
        assert changes <= count - 1


def test_masked_places_are_all_places() -> None:
    image = PIL.Image.new("L", (24, 24), 255)
    times = sum((pixels(corrupted(image, "patch_mask", seed, color=(0, 0, 0))) == 0) for seed in range(400))
    assert np.min(times) > 0.3 * 400 - 60
    assert np.max(times) < 0.3 * 400 + 60


@PROPERTY
@given(SEEDS, st.sampled_from([0.1, 0.3, 0.6]), st.sampled_from([(200, 150), (150, 200)]))
def test_a_block_is_one_box_of_its_share(seed: int, share: float, size: tuple[int, int]) -> None:
    made = corrupted(PIL.Image.new("L", size, 255), "patch_mask", seed, share=share, shape="block", color=(0, 0, 0))
    hidden = pixels(made) == 0
    assert hidden.mean() == pytest.approx(share, abs=0.02)
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


@PROPERTY
@given(images(), st.sampled_from([1, 2, 3]))
def test_quarter_turns_are_those_of_matrices(image: Image, quarters: int) -> None:
    square = image.resize((17, 17))
    made = corrupted(square, "rotate", degrees=(90 * quarters, 90 * quarters))
    assert (pixels(made) == np.rot90(pixels(square), quarters)).all()


def test_a_turn_is_about_the_centre_and_black_comes_in() -> None:
    image = PIL.Image.new("RGB", (101, 101), "white")
    image.putpixel((90, 50), (255, 0, 0))
    made = pixels(corrupted(image, "rotate", degrees=(30, 30)))
    red = np.unravel_index((made[..., 0] - made[..., 1]).argmax(), (101, 101))
    # 40 pixels to the right of the centre; up is less.
    assert red == (50 - 20, 50 + round(40 * 0.866))
    assert (made[0, 0] == 0).all()
    assert (made[50, 50] == 255).all()


def test_angles_are_drawn_between_those_that_are_said() -> None:
    image = PIL.Image.new("L", (101, 101))
    image.paste(255, (50, 49, 101, 52))
    angles = []
    for seed in range(100):
        rows, columns = np.nonzero(pixels(corrupted(image, "rotate", seed, degrees=(20, 160))))
        angles.append(np.degrees(np.arctan2(50 - rows.mean(), columns.mean() - 50)))
    assert 18 < min(angles) < 30
    assert 150 < max(angles) < 162


@PROPERTY
@given(images())
def test_flips_are_those_of_matrices(image: Image) -> None:
    levels = pixels(image)
    for axis, expected in (("horizontal", levels[:, ::-1]), ("vertical", levels[::-1]), ("both", levels[::-1, ::-1])):
        assert (pixels(corrupted(image, "flip", axis=axis)) == expected).all()


def only(name: str, amount: float) -> dict[str, float]:
    return {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, name: amount}


def jittered(name: str, amount: float, color: tuple[int, int, int]) -> NDArray[np.int64]:
    """``(200, 3)``: the colour of a picture under as many draws."""
    image = PIL.Image.new("RGB", (2, 2), color)
    made = [pixels(corrupted(image, "color_jitter", seed, **only(name, amount)))[0, 0] for seed in range(200)]
    return np.stack(made)


@settings(deadline=None, max_examples=20)
@given(images(), SEEDS)
def test_no_jitter_changes_nothing(image: Image, seed: int) -> None:
    assert pixels(corrupted(image, "color_jitter", seed, **only("hue", 0))).tolist() == pixels(image).tolist()


def test_brightness_multiplies_levels() -> None:
    factors = jittered("brightness", 0.5, (100, 50, 150))[:, 0] / 100
    assert 0.5 <= factors.min() < 0.53
    assert 1.47 < factors.max() <= 1.5


def test_saturation_moves_colours_from_and_to_grey() -> None:
    made = jittered("saturation", 0.5, (150, 100, 100))
    distances = (made[:, 0] - made[:, 1]) / 50
    assert 0.48 <= distances.min() < 0.54
    assert 1.46 < distances.max() <= 1.52


def test_contrast_moves_levels_from_and_to_their_mean() -> None:
    image = PIL.Image.new("L", (2, 1), 100)
    image.putpixel((1, 0), 140)
    made = [pixels(corrupted(image, "color_jitter", seed, **only("contrast", 0.5)))[0] for seed in range(200)]
    for dark, light in made:
        assert dark + light == pytest.approx(240, abs=2)
    gaps = [light - dark for dark, light in made]
    assert 19 <= min(gaps) < 22
    assert 58 < max(gaps) <= 61


def test_hues_turn_by_no_more_than_is_said() -> None:
    hues = [(colorsys.rgb_to_hsv(*color.tolist())[0] + 0.5) % 1 - 0.5 for color in jittered("hue", 0.2, (200, 50, 50))]
    assert -0.21 < min(hues) < -0.18
    assert 0.18 < max(hues) < 0.21


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rotate", {"degrees": (90, 45)}),
        ("flip", {"axis": "diagonal"}),
        ("patch_mask", {"share": 0}),
        ("patch_mask", {"share": 1.2}),
        ("pixelate", {"squares": 0}),
        ("blur", {"radius": 0}),
        ("color_jitter", {"hue": 0.6}),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        component("corruption", name, **options)


@pytest.mark.parametrize("mode", PILLOW_MODES)
@pytest.mark.parametrize(
    "name", ["random_crop", "moco_v2", "color_jitter", "blur", "pixelate", "patch_mask", "rotate", "flip", "blank"]
)
def test_a_picture_of_any_mode_is_changed_as_its_look_is(name: str, mode: str) -> None:
    image = in_mode(mode)
    made, expected = pixels(seen(corrupted(image, name, 3))), pixels(corrupted(seen(image), name, 3))
    if mode == "1":
        # Dithered: the same on the whole.
        assert made.mean() == pytest.approx(expected.mean(), abs=8)
        return
    if mode in {"L", "LA", "La"} or mode.startswith("I") or mode == "F":
        expected = pixels(PIL.Image.fromarray(expected.astype(np.uint8)).convert("L").convert("RGB"))
    # Palettes and colour spaces round.
    assert np.abs(made - expected).mean() < (9 if mode in {"P", "PA"} else 3)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "F"])
@pytest.mark.parametrize("name", ["random_crop", "rotate", "pixelate", "flip"])
def test_moving_levels_keeps_their_16_bits(name: str, mode: str) -> None:
    made = pixels(corrupted(in_mode(mode), name).convert("I"))
    expected = pixels(corrupted(in_mode("F"), name))
    assert np.abs(made - expected.clip(0 if mode.startswith("I;16") else None, None)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "PA", "RGBA", "LA"])
def test_what_is_transparent_stays_so_where_it_is(mode: str) -> None:
    image = photograph(96, 64).convert("RGB")
    image.putalpha(255)
    image.paste((0, 0, 0, 0), (0, 0, 48, 64))
    made = corrupted(image.quantize() if mode == "P" else image.convert(mode), "color_jitter", 1).convert("RGBA")
    alpha = pixels(made.getchannel("A"))
    assert (alpha[:, :44] < 20).all()
    assert (alpha[:, 52:] > 235).all()


def large(mode: str) -> Image:
    return PIL.Image.linear_gradient("L").resize((8000, 8000)).convert("RGB").convert(mode)


LARGE = pytest.mark.nightly(reason="the tests above hold for small pictures; these show that no size is too large")


@LARGE
@pytest.mark.parametrize("mode", ["RGB", "I;16", "P"])
@pytest.mark.parametrize("name", image_corruptions())
def test_pictures_of_64_megapixels_are_corrupted(name: str, mode: str) -> None:
    image = large(mode)
    made = corrupted(image, name)
    assert (made.size, made.mode) == (image.size, mode)


@LARGE
@pytest.mark.parametrize("mode", ["RGB", "I;16", "P"])
def test_regions_of_64_megapixels_are_under_noise(mode: str) -> None:
    row = Example("0", "<image>", {}, (large(mode),), boxes={"regions": ((Box(100, 100, 7000, 7900),),)})
    corruption = component("corruption", "region_noise", boxes="regions")
    assert isinstance(corruption, Corruption)
    [made] = corruption.apply(row, random.Random(0), [row]).images
    assert (made.size, made.mode) == ((8000, 8000), mode)
    assert made.crop((100, 100, 200, 200)).tobytes() != row.images[0].crop((100, 100, 200, 200)).tobytes()
