"""Image processors that transformers has for torchvision alone. The oracle is torchvision, which wrote the file."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mdpo_vlm.encoding import torch_pixels
from mdpo_vlm.encoding.torchvision_only import image_processor_without_torchvision
from PIL import Image
from support.oracles.torchvision_pixels import FILE, SETTINGS, as_array, pictures
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

TYPES = {name: kind for kind, classes in IMAGE_PROCESSOR_MAPPING_NAMES.items() for name in classes.values()}
sides = st.integers(1, 40)


def processor(name: str, **settings: Any) -> Any:
    kind = image_processor_without_torchvision(TYPES[name])
    assert kind is not None
    return kind(**settings)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_value_is_that_of_torchvision(name: str) -> None:
    expected = np.load(FILE)
    keys = [key for key in expected if key.startswith(f"{name}/")]
    made = processor(name, **SETTINGS[name])
    found = {
        f"{name}/{number}/{key}": as_array(values)
        for number, picture in enumerate(pictures())
        for key, values in made(images=[picture], return_tensors="pt").items()
    }
    assert sorted(found) == sorted(keys)
    for key in keys:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_a_type_with_pillow_or_without_pictures_keeps_what_it_has() -> None:
    assert image_processor_without_torchvision("llava") is None
    assert image_processor_without_torchvision("llama") is None
    assert image_processor_without_torchvision("no such type") is None


def test_nothing_is_left_where_torchvision_would_be() -> None:
    before = importlib.util.find_spec("torchvision")
    processor("Lfm2VlImageProcessor")
    assert importlib.util.find_spec("torchvision") == before
    assert not any(getattr(sys.modules.get(name), "functional", None) is torch_pixels for name in list(sys.modules))


@given(sides, sides, sides, sides)
def test_bilinear_resize_is_within_a_level_of_pillow(height: int, width: int, new_height: int, new_width: int) -> None:
    values = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    resized = torch_pixels.resize(torch.from_numpy(values).permute(2, 0, 1), (new_height, new_width), 2)
    pillow = np.asarray(Image.fromarray(values).resize((new_width, new_height), 2)).astype(int)
    assert np.abs(resized.permute(1, 2, 0).numpy().astype(int) - pillow).max() <= 1


@given(sides, sides, sides, sides)
def test_whole_numbers_are_rounded(height: int, width: int, new_height: int, new_width: int) -> None:
    values = np.random.default_rng(height).integers(-300, 300, (1, height, width))
    exact = torch_pixels.resize(torch.from_numpy(values.astype(np.float32)), (new_height, new_width)).numpy()
    rounded = torch_pixels.resize(torch.from_numpy(values.astype(np.int32)), (new_height, new_width)).numpy()
    np.testing.assert_array_equal(rounded, np.rint(exact))


@given(sides, sides, st.lists(st.integers(0, 5), min_size=4, max_size=4), st.integers(0, 255))
def test_pad_is_numpys(height: int, width: int, padding: list[int], fill: int) -> None:
    values = np.random.default_rng(height).integers(0, 256, (2, 3, height, width)).astype(np.uint8)
    left, top, right, bottom = padding
    expected = np.pad(values, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=fill)
    np.testing.assert_array_equal(torch_pixels.pad(torch.from_numpy(values), padding, fill), expected)
    np.testing.assert_array_equal(torch_pixels.pad(torch.from_numpy(values), padding, [fill] * 3), expected)


def test_other_ways_of_padding_are_refused() -> None:
    with pytest.raises(ValueError, match="padding_mode is 'edge'; only 'constant' is computed"):
        torch_pixels.pad(torch.zeros(3, 2, 2), (1, 1, 1, 1), padding_mode="edge")
