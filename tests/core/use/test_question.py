"""Questions and pictures before a model is loaded: marks, and pictures that are none."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import DataError, RecipeError
from mdpo_core.use.options import require_device, require_options
from mdpo_core.use.question import as_example

RED = PIL.Image.new("RGB", (4, 4), "red")
words = st.text("abc ?:\n", min_size=1).filter(str.strip)


@given(words, st.integers(0, 4))
def test_pictures_without_marks_come_before_the_question(question: str, number: int) -> None:
    example = as_example(question, [RED] * number)
    assert example.num_marks == len(example.images) == number
    assert str(example.prompt).endswith(question)
    assert str(example.prompt).removesuffix(question) == ("<image>" * number + "\n" if number else "")


@given(st.lists(words, min_size=2, max_size=4))
def test_a_question_with_a_mark_for_each_picture_is_used_unchanged(parts: list[str]) -> None:
    question = "<image>".join(parts)
    assert as_example(question, [RED] * (len(parts) - 1)).prompt == question


def test_plain_text_that_looks_like_a_mark_is_no_mark() -> None:
    assert as_example(r"What does \<image> mean?", [RED]).prompt == "<image>\nWhat does \\<image> mean?"


@pytest.mark.parametrize(
    ("question", "number", "message"),
    [
        ("<image> and <image>?", 1, "the prompt has 2 <image> marks, but there is 1 picture; write one mark for each"),
        ("<image>?", 3, "the prompt has 1 <image> mark, but there are 3 pictures"),
        ("<image>?", 0, "the prompt has 1 <image> mark, but there are 0 pictures"),
        ("<video> What happens?", 0, "only pictures can be asked about"),
        (" \n", 1, "the prompt is empty"),
    ],
)
def test_marks_that_do_not_fit_are_refused_in_a_sentence(question: str, number: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        as_example(question, [RED] * number)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, message in [
        ("notes.jpg", "notes.jpg: cannot be read as a picture: "),
        ("cut.png", "cut.png: cannot be read as a picture: "),
        ("absent.png", "absent.png: the picture does not exist"),
        (".", "is not a file"),
    ]:
        with pytest.raises(DataError) as caught:
            as_example("What is it?", [tmp_path / name])
        assert message in str(caught.value)


def test_a_list_of_pictures_is_told_how_pictures_are_given() -> None:
    with pytest.raises(DataError, match=r"answer\(QUESTION, 'a\.jpg', 'b\.jpg'\)"):
        as_example("what?", [["a.jpg", "b.jpg"]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number above 0, found 0"),
        ({"temperature": -1}, "temperature must be 0 or more, found -1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, found nan"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, found 0"),
    ],
)
def test_options_of_an_answer_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        require_options(**{"max_new_tokens": 5, "temperature": 0.0, "top_p": 1.0, **options})


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "device='cuda': .*has no CUDA|device='cuda': .*finds no"),
        ("mps", "device='mps': torch does not find this device"),
        ("nonsense", "device='nonsense': torch does not know this device"),
    ],
)
def test_a_device_that_is_not_there_is_told_before_the_weights_are_read(device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(RecipeError, match=message) as error:
        require_device(device)
    assert "leave device out" in str(error.value)


def test_the_cpu_is_a_device() -> None:
    require_device("cpu")
