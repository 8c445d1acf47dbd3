"""Chat messages in preference data: every form that people keep them in, and everything that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, Example, Turn, component

QUESTION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A temple."}]},
    {"role": "user", "content": [{"type": "text", "text": "And this: "}, {"type": "image"}]},
]
TURNS = (
    Turn("system", "Be brief."),
    Turn("user", "<image>What is it?"),
    Turn("assistant", "A temple."),
    Turn("user", "And this: <image>"),
)


def read(row: dict[str, Any], folder: Path, photographs: Path, **options: Any) -> Example:
    (folder / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    reader: Any = component("reader", "pairs", path=str(folder / "pairs.jsonl"), images=photographs, **options)
    example: Example = reader.open()[0]
    return example


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_conversation_comes_with_turns_and_images_in_order(tmp_path: Path, photographs: Path) -> None:
    row = {"prompt": QUESTION, "chosen": answer("A flower."), "rejected": "A dog.", "img_path": ["00.jpg", "11.png"]}
    example = read(row, tmp_path, photographs)
    assert example.prompt == TURNS
    assert example.responses == {"chosen": "A flower.", "rejected": "A dog."}
    assert (len(example.images), example.num_marks) == (2, 2)


def test_a_response_may_be_several_turns(tmp_path: Path, photographs: Path) -> None:
    said = [*answer("A flower."), {"role": "user", "content": "Sure?"}, *answer("Yes.")]
    row = {"prompt": QUESTION, "chosen": said, "rejected": answer("No."), "img_path": ["00.jpg", "11.png"]}
    example = read(row, tmp_path, photographs)
    assert example.responses["chosen"] == (
        Turn("assistant", "A flower."),
        Turn("user", "Sure?"),
        Turn("assistant", "Yes."),
    )
    assert example.text("chosen") == "A flower.\nYes."
    assert example.responses["rejected"] == "No."


def test_the_last_turn_of_a_whole_conversation_is_the_response(tmp_path: Path, photographs: Path) -> None:
    row = {
        name: [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": text}]
        for name, text in (("chosen", "A flower."), ("rejected", "A dog."))
    }
    example = read({**row, "img_path": "00.jpg"}, tmp_path, photographs, prompt=None)
    assert example.prompt == (Turn("user", "<image>\nWhat is it?"),)
    assert example.responses == {"chosen": "A flower.", "rejected": "A dog."}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "00.jpg", "index": None},
        {"type": "image", "path": "00.jpg"},
        {"type": "image_url", "image_url": {"url": "00.jpg"}},
        {"type": "input_image", "image_url": "00.jpg"},
    ],
)
def test_an_image_inside_a_message_is_read(part: dict[str, Any], tmp_path: Path, photographs: Path) -> None:
    asked = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    row = {"prompt": asked, "chosen": answer("A flower."), "rejected": "A dog."}
    whole = {name: [*asked, *answer(name)] for name in ("chosen", "rejected")}
    size = read({**row, "img_path": "00.jpg"}, tmp_path, photographs).images[0].size
    for example in (
        read(row, tmp_path, photographs, image=None),
        read(whole, tmp_path, photographs, image=None, prompt=None),
        read({**row, "img_path": "00.jpg"}, tmp_path, photographs),  # the column's image, not the part's as well
    ):
        assert ([image.size for image in example.images], example.num_marks) == ([size], 1)


def test_an_image_inside_a_message_that_cannot_be_read_is_named(tmp_path: Path, photographs: Path) -> None:
    asked = [{"role": "user", "content": [{"type": "image", "image": "absent.jpg"}, {"type": "text", "text": "A?"}]}]
    row = {"prompt": asked, "chosen": answer("A flower."), "rejected": "A dog."}
    with pytest.raises(DataError, match=r"row 1.*prompt: .*absent.jpg' does not exist"):
        read(row, tmp_path, photographs, image=None)


def test_an_answer_may_be_one_message(tmp_path: Path, photographs: Path) -> None:
    row = {
        "prompt": "A?",
        "chosen": {"from": "gpt", "value": "Yes."},
        "rejected": {"role": "Assistant", "content": "No."},
    }
    example = read(row, tmp_path, photographs, image=None)
    assert example.responses == {"chosen": "Yes.", "rejected": "No."}


@pytest.mark.parametrize(
    ("prompt", "marked"),
    [
        ("Which?", "<image><image>\nWhich?"),
        ("Which of <image> and <image>?", "Which of <image> and <image>?"),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}],
            (Turn("system", "Be brief."), Turn("user", "<image><image>\nWhich?")),
        ),
    ],
)
def test_missing_marks_stand_before_the_first_text_of_the_user(
    prompt: Any, marked: Any, tmp_path: Path, photographs: Path
) -> None:
    row = {"prompt": prompt, "chosen": "A.", "rejected": "B.", "img_path": ["00.jpg", "11.png"]}
    assert read(row, tmp_path, photographs, marks="first").prompt == marked


def test_marks_stay_as_they_are_written(tmp_path: Path, photographs: Path) -> None:
    row = {"prompt": "Which?", "chosen": "A.", "rejected": "B.", "img_path": "00.jpg"}
    assert read(row, tmp_path, photographs).prompt == "Which?"


@pytest.mark.parametrize("role", [["user"], {"a": 1}, None, 3])
def test_a_role_of_another_type_is_named(role: Any, tmp_path: Path, photographs: Path) -> None:
    row = {"prompt": [{"role": role, "content": "A?"}], "chosen": "A.", "rejected": "B."}
    with pytest.raises(DataError, match=r"prompt\[0\]: must be a role: system, user, assistant, human, gpt, found"):
        read(row, tmp_path, photographs, image=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": QUESTION[:3]}, "a prompt must end with a user's turn"),
        ({"prompt": []}, "a prompt must end with a user's turn"),
        (
            {"prompt": [{"role": "tool", "content": "x"}]},
            r"prompt\[0\]: 'tool' is not a role; use one of: system, user",
        ),
        ({"prompt": [{"speaker": "user", "content": "x"}]}, r"prompt\[0\]: must be a chat message: {role, content}"),
        ({"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}, "must be a part of a message"),
        ({"chosen": [*QUESTION, *answer("A flower.")]}, "must begin with an assistant's turn.*data.prompt: null"),
        ({"chosen": QUESTION[:1]}, "the last turn must be the assistant's"),
    ],
)
def test_a_wrong_conversation_is_named_with_its_place(
    change: dict[str, Any], message: str, tmp_path: Path, photographs: Path
) -> None:
    row = {"prompt": QUESTION, "chosen": answer("A flower."), "rejected": "A dog.", "img_path": ["00.jpg", "11.png"]}
    with pytest.raises(DataError, match=message):
        read({**row, **change}, tmp_path, photographs)


def test_a_whole_conversation_has_a_question(tmp_path: Path, photographs: Path) -> None:
    row = {"chosen": answer("A."), "rejected": answer("B."), "img_path": None}
    with pytest.raises(DataError, match="chosen: before the response there must be a user's turn"):
        read(row, tmp_path, photographs, prompt=None)


def test_whole_conversations_differing_before_response_are_named(tmp_path: Path, photographs: Path) -> None:
    asked = [{"role": "user", "content": "One?"}], [{"role": "user", "content": "Two?"}]
    row = {"chosen": [*asked[0], *answer("1")], "rejected": [*asked[1], *answer("2")], "img_path": None}
    with pytest.raises(DataError, match="rejected: the turns before the response differ from the turns in 'chosen'"):
        read(row, tmp_path, photographs, prompt=None)
