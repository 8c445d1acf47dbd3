"""Marks that are plain text, from the file of a user to the check of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.videos import write_video

from mdpo_core import DataError, Example, component
from mdpo_core.data.validity import problems_of_row

QUESTION = "<image>\nWhat does \\<image> mean?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "walk.mp4", 4)
    Image.new("RGB", (24, 16)).save(tmp_path / "boat.png")
    return tmp_path


def example(folder: Path, name: str, row: dict[str, Any], **options: Any) -> Example:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    [found] = component("reader", name, path=str(folder / "rows.jsonl"), images=folder, **options).open()  # type: ignore[attr-defined]
    assert isinstance(found, Example)
    return found


def turns(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


@pytest.mark.parametrize(
    ("name", "row", "options"),
    [
        ("pairs", {"prompt": QUESTION, "image": "boat.png"}, {"image": "image"}),
        ("pairs", {"prompt": turns(QUESTION), "image": "boat.png"}, {"image": "image"}),
        ("pairs", {"prompt": "What does \\<image> mean?", "image": "boat.png"}, {"image": "image", "marks": "first"}),
        ("trl", {"prompt": turns(QUESTION), "images": ["boat.png"]}, {}),
    ],
)
def test_a_mark_with_a_backslash_is_text_in_prompts_and_answers(
    name: str, row: dict[str, Any], options: dict[str, Any], folder: Path
) -> None:
    answers: dict[str, Any] = {"chosen": "It is a tag: \\<image>.", "rejected": "A \\<video>."}
    if name == "trl":
        answers = {key: [{"role": "assistant", "content": text}] for key, text in answers.items()}
    found = example(folder, name, row | answers, **options)
    assert found.num_marks == len(found.images) == 1
    assert problems_of_row(found) == []


def test_a_video_s_mark_with_a_backslash_takes_no_frames(folder: Path) -> None:
    row = {
        "prompt": "<video>What is \\<video>?",
        "chosen": "\\<video> is a tag.",
        "rejected": "No.",
        "video": "walk.mp4",
    }
    found = example(folder, "pairs", row, image=None, video="video", frames=2)
    assert found.prompt == "<image><image>What is \\<video>?"
    assert len(found.images) == found.num_marks == 2


def test_an_answer_with_a_bare_mark_says_how_to_write_it(folder: Path) -> None:
    row = {"prompt": QUESTION, "image": "boat.png", "chosen": "A tag: <image>.", "rejected": "No.", "video": None}
    [problem] = problems_of_row(example(folder, "pairs", row, image="image"))
    assert "contains an <image> mark; only prompts may contain one: write \\<image> if the word is meant" in problem
    with pytest.raises(DataError, match=r"an answer contains <video>"):
        example(folder, "pairs", row | {"chosen": "<video>"}, image="image", video="video")


@pytest.mark.parametrize("mark", ["<img>", "[IMG]", "<|image_pad|>", "<image_1>", "<IMAGE_HERE>", "<|image_1|>"])
def test_another_picture_s_mark_with_a_backslash_is_text(mark: str, folder: Path) -> None:
    row = {"prompt": f"what is \\{mark} here?", "image": "boat.png", "chosen": "A mark.", "rejected": f"A \\{mark}."}
    found = example(folder, "pairs", row, image="image", marks="first")
    assert str(found.prompt).count(mark) == found.num_marks == 1
    own = {**row, "prompt": f"{mark}\nwhat is \\{mark} here?"}
    assert example(folder, "pairs", own, image="image", image_mark=mark).prompt == f"<image>\nwhat is \\{mark} here?"
    with pytest.raises(DataError, match="has no <image> mark, but"):
        example(folder, "pairs", {**row, "prompt": f"\\{mark} and {mark}"}, image="image")
