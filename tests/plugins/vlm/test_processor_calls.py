"""A model's processor on one row: what it raises or warns of makes the row bad, and the others stay."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from support.builders.small_vlms import build_vlm
from support.pairs import PROMPT

from mdpo_core import DataError, Example, component
from mdpo_core.data.checking import check_data
from mdpo_core.data.encoding import BatchBuilder

ROW = Example("1", PROMPT, {"chosen": "A flower.", "rejected": "A temple."}, (PIL.Image.new("RGB", (40, 30)),))
FAILS = "the model's processor fails"


def encoder(folder: Path, adapter: str = "llava", **options: Any) -> Any:
    return component("adapter", adapter, path=str(folder), prompts="ready", **options).encoder()  # type: ignore[attr-defined]


def with_images(*sizes: tuple[int, int]) -> Example:
    images = tuple(PIL.Image.new("RGB", size, "red") for size in sizes)
    return replace(ROW, id="thin", prompt="<image>" * len(images) + " What?", images=images)


def refused(encoder: Any, row: Example) -> str:
    with pytest.raises(DataError) as caught:
        encoder.encode_prompt(row)
    return str(caught.value)


def test_pictures_that_a_processor_refuses_are_bad_rows_with_their_size_and_the_reason(tmp_path: Path) -> None:
    qwen = encoder(build_vlm("qwen2_vl", tmp_path), "chat_vlm", unusual_texts="keep")
    sizes = [(40, 30), (455, 2), (1, 300), (40, 30)]
    rows = [replace(with_images(size), id=str(number)) for number, size in enumerate(sizes)]
    builder = BatchBuilder.for_terms([component("loss", "dpo")], {}, qwen, 2048, seed=0)  # type: ignore[list-item]
    checked = check_data(rows, builder, lambda done, total: None)
    assert checked.rows == [0, 3]
    for row, size in ((1, "455 x 2"), (2, "1 x 300")):
        [problem] = map(str, checked.bad[row])
        assert problem.startswith(
            f"row {row + 1}, example '{row}': the model's processor fails on the image of {size} pixels: ValueErr"
        )
        assert "absolute aspect ratio must be smaller than 200" in problem


def test_a_warning_about_the_numbers_of_a_picture_makes_its_row_bad(llava: Path) -> None:
    model = encoder(llava)
    model.processor.image_processor.image_std = [0.0, 0.0, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as Python does by default, after the first
        for _ in range(2):
            message = refused(model, with_images((40, 30)))
            assert message.startswith(
                "example 'thin': the model's processor fails on the image of 40 x 30 pixels: Runtime"
            )


def test_of_several_images_the_first_sizes_are_named(llava: Path) -> None:
    model = encoder(llava)
    model.processor.image_processor.image_mean = [0.5]
    sizes = [(10 + number, 9) for number in range(5)]
    assert "fails on 5 images (10 x 9, 11 x 9, 12 x 9, ... pixels): ValueError" in refused(model, with_images(*sizes))


def test_a_picture_that_the_processor_would_blow_up_is_refused_before_it_does(llava: Path) -> None:
    assert encoder(llava).encode_prompt(with_images((300, 1))).images
    message = refused(encoder(llava), with_images((1, 1_000_000)))
    edge = json.loads((llava / "processor_config.json").read_text())["image_processor"]["size"]["shortest_edge"]
    assert f"1 x 1000000 pixels, which the model's processor makes {edge**2 * 1_000_000};" in message
    assert "raise model.max_resized_pixels, which is 178956970" in message
    tight = encoder(llava, max_resized_pixels=edge**2 * 300 - 1)
    assert "an image has 300 x 1 pixels" in refused(tight, with_images((40, 30), (300, 1)))


def test_a_picture_that_the_processor_pads_to_a_square_counts_as_the_square(llava: Path) -> None:
    limited = encoder(llava, max_resized_pixels=40 * 40)
    limited.processor.image_processor.do_pad = True
    limited.processor.image_processor.pad_to_square = None  # only LLaVA's own processor has it
    assert "makes 1681;" in refused(limited, with_images((41, 30)))
