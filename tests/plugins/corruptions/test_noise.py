"""Noise: how much of it, of what size, on what."""

from __future__ import annotations

import math
import random

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_corruptions import noise
from mdpo_corruptions.noise import Schedule, signal_share
from pydantic import ValidationError
from support.corrupting import corrupted, photograph, pixels

from mdpo_core import component


def grey(level: int, side: int = 300, mode: str = "L") -> PIL.Image.Image:
    return PIL.Image.new("L", (side, side), level).convert(mode)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.01, 0.1))
def test_gaussian_noise_has_the_deviation_that_it_is_told(seed: int, std: float) -> None:
    difference = pixels(corrupted(grey(127, mode="RGB"), "gaussian_noise", seed, std=std)) - 127
    # Of 270,000 numbers rounded to whole levels: 5 standard errors, and the variance of rounding.
    assert abs(difference.mean()) < 5 * 255 * std / math.sqrt(difference.size) + 0.01
    assert difference.std() == pytest.approx(math.hypot(255 * std, math.sqrt(1 / 12)), rel=0.01)


def test_gaussian_noise_is_normal() -> None:
    found = (pixels(corrupted(grey(127), "gaussian_noise", std=0.1)) - 127) / 25.5
    for bound, share in ((1, 0.6827), (2, 0.9545)):
        assert (np.abs(found) < bound).mean() == pytest.approx(share, abs=0.012)
    assert np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_channels_have_noise_of_their_own() -> None:
    red, green, blue = np.moveaxis(pixels(corrupted(grey(127, mode="RGB"), "gaussian_noise", std=0.1)), -1, 0)
    for one, two in ((red, green), (green, blue), (red, blue)):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02


def test_levels_end_at_black_and_white() -> None:
    assert pixels(corrupted(grey(250), "gaussian_noise", std=0.5)).max() == 255
    assert pixels(corrupted(grey(5), "gaussian_noise", std=0.5)).min() == 0


def alphas_cumprod(schedule: Schedule) -> torch.Tensor:
    """As POVID's release and the two papers of the others write them, in tensors."""
    if schedule == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, 1000, dtype=torch.float64)) * (0.5e-2 - 1e-5) + 1e-5
    elif schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    else:
        times = torch.arange(1001, dtype=torch.float64) / 1000
        bars = torch.cos((times + 0.008) / 1.008 * torch.pi / 2) ** 2
        betas = (1 - bars[1:] / bars[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - betas, 0)


@pytest.mark.parametrize("schedule", ["sigmoid", "linear", "cosine"])
def test_a_schedule_is_the_published_one(schedule: Schedule) -> None:
    bars = alphas_cumprod(schedule)
    for step in (0, 1, 300, 500, 999):
        assert signal_share(schedule, step) == pytest.approx(float(bars[step]), rel=1e-9)


@pytest.mark.parametrize("schedule", ["sigmoid", "linear", "cosine"])
@pytest.mark.parametrize("step", [100, 500])
def test_diffusion_fades_the_normalized_picture_into_noise(schedule: Schedule, step: int) -> None:
    keep, center, spread = float(alphas_cumprod(schedule)[step]) ** 0.5, 0.5, 0.1
    for level in (90, 160):
        made = pixels(
            corrupted(grey(level), "diffusion_noise", step=step, schedule=schedule, spread=spread, center=0.5)
        )
        normalized = (level / 255 - center) / spread
        assert made.mean() / 255 == pytest.approx(center + spread * keep * normalized, abs=0.003)
        assert made.std() / 255 == pytest.approx(spread * math.sqrt(1 - keep**2), rel=0.02, abs=0.0005)


def test_the_last_linear_step_is_noise_alone() -> None:
    one, two = (
        pixels(corrupted(picture, "diffusion_noise", schedule="linear", step=999, spread=0.1))
        for picture in (photograph(), PIL.Image.new("RGB", (320, 213)))
    )
    assert np.abs(one - two).max() <= 2
    assert one.mean() / 255 == pytest.approx(0.45, abs=0.005)
    assert one.std() / 255 == pytest.approx(0.1, abs=0.005)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_noise_of_large_picture_is_enlarged_noise_of_small_one(width: int, height: int, side: int) -> None:
    image = PIL.Image.new("L", (width, height), 127)
    made = pixels(corrupted(image, "gaussian_noise", std=0.1, side=side))
    short = min(width, height)
    rows, columns = (height, width) if short <= side else (round(height * side / short), round(width * side / short))
    small = PIL.Image.new("L", (columns, rows), 127)
    expected = pixels(corrupted(small, "gaussian_noise", std=0.1, side=None))
    for row in range(height):
        for column in range(width):
            assert made[row, column] == expected[row * rows // height, column * columns // width]


def test_a_model_that_shrinks_the_picture_sees_most_of_the_noise() -> None:
    def seen(side: int | None) -> float:
        large = corrupted(PIL.Image.new("L", (1680, 1680), 127), "gaussian_noise", std=0.2, side=side)
        return float(pixels(large.resize((336, 336), PIL.Image.Resampling.BICUBIC)).std() / 255)

    # Bicubic shrinking looks a little beyond each pixel.
    assert seen(336) > 0.13
    assert seen(None) < 0.06


def test_noise_does_not_depend_on_rows_computed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"side": None}, {"side": 100}):
        whole = corrupted(photograph(), "gaussian_noise", **options)
        with monkeypatch.context() as patch:
            patch.setattr(noise, "_AT_ONCE", 5000)
            assert corrupted(photograph(), "gaussian_noise", **options) == whole


@pytest.mark.parametrize("name", ["gaussian_noise", "diffusion_noise"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_no_colour(name: str, mode: str) -> None:
    image = photograph(30, 20).convert("RGB")
    image.putalpha(PIL.Image.linear_gradient("L").resize((30, 20)))
    image = image.convert(mode)
    made = corrupted(image, name)
    assert made.getchannel("A") == image.getchannel("A")
    assert made != image


def test_noise_moves_row_generator_and_leaves_torch_generator() -> None:
    state, rng = torch.get_rng_state(), random.Random(0)
    made = component("corruption", "gaussian_noise")
    first, second = (made(grey(127), rng) for _ in range(2))  # type: ignore[operator]
    assert first != second
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gaussian_noise", {"std": 0}),
        ("gaussian_noise", {"side": 0}),
        ("diffusion_noise", {"step": 1000}),
        ("diffusion_noise", {"schedule": "square"}),
        ("diffusion_noise", {"center": 1.1}),
    ],
)
def test_noise_that_cannot_be_is_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        component("corruption", name, **options)
