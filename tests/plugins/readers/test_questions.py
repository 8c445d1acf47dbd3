"""Questions that are empty, or that hold a picture in their text: read, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.one_row import BASE64, PICTURE, read, refused
from support.reader_rows import NO, YES

from mdpo_core import Turn
from mdpo_core.data.validity import problems_of_row

URI = f"data:image/png;base64,{BASE64}"
ANSWERS = {"chosen": "Yes.", "rejected": "No."}
VOTES = {"response_1": "No.", "response_2": "Yes.", "preference.responses": ["response_2"]}


def rows(question: str) -> dict[str, dict[str, Any]]:
    asked, said = {"role": "user", "content": question}, {"from": "human", "value": question}
    gpt, wrong = {"from": "gpt", "value": "Yes."}, {"from": "gpt", "value": "No."}
    return {
        "trl": {"prompt": question, **ANSWERS},
        "pairs": {"prompt": question, **ANSWERS, "img_path": None},
        "rlaif_v": {"question": question, **ANSWERS},
        "mmpr": {"question": question, **ANSWERS},
        "align_anything": {"question": question, "response_1": "No.", "response_2": "Yes.", "overall_response": 2},
        "argilla": {"prompt": question, **VOTES},
        "vlfeedback": {"prompt": question, "completions": []},
        "swift": {"messages": [asked, YES], "rejected_response": "No."},
        "openai": {"input": {"messages": [asked]}, "preferred_output": [YES], "non_preferred_output": [NO]},
        "arena": {"conversation_a": [asked, YES], "conversation_b": [asked, NO], "winner": "model_a"},
        "distilabel": {"instruction": question, "generations": ["No.", "Yes."], "ratings": [1, 5]},
        "povid": {"conversations": [said, gpt], "rejected_conversations": [said, wrong]},
        "ha_dpo": {"image_id": "a.png", "question": question, **ANSWERS},
        "sentinel": {"question": question, "context": "So.", "y_win": "Yes.", "y_lose": "No.", "image_path": None},
        "mm_rlhf": {"question": question, "video": None, **ANSWERS},
    }


COLUMNS = {
    "trl": "images",
    "swift": "images",
    "arena": "images",
    "pairs": "img_path",
    "vlfeedback": "img_path",
    "sentinel": "image_path",
}


@pytest.mark.parametrize("picture", [None, "a.png"])
@pytest.mark.parametrize("question", ["", " ", "\n\t"])
@pytest.mark.parametrize("reader", sorted(rows("")))
def test_an_empty_question_is_refused(reader: str, question: str, picture: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    row = rows(question)[reader]
    row |= {} if reader in ("openai", "ha_dpo") else {COLUMNS.get(reader, "image"): picture}
    message = refused(tmp_path, row, reader)
    assert "rows.jsonl row 1: " in message
    assert "empty question" in message
    assert "write the question, or remove the row" in message


@pytest.mark.parametrize("reader", sorted(set(rows("")) - {"argilla"}))
def test_a_picture_in_a_text_is_refused_not_trained_on_as_letters(reader: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    message = refused(tmp_path, rows(f'<img src="{URI}"> What?')[reader] | {"image": None}, reader)
    assert "has a file in its text, as base64: 'data:image/png;base64," in message
    assert "write the picture or the video into a column of its own" in message


@pytest.mark.parametrize("source", [URI, "a.png"])
@pytest.mark.parametrize("tag", ['<img src="{}">', "<img width='90' src='{}' alt=''/>", '<IMG SRC = "{}" />'])
def test_a_picture_in_a_prompt_of_argilla_is_read(tag: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    row = {"prompt": f"Look: {tag.format(source)} What?", **VOTES, "image": None}
    example = read(tmp_path, row, "argilla")
    assert (example.prompt, len(example.images)) == ((Turn("user", "Look: <image> What?"),), 1)
    assert problems_of_row(example) == []
    assert "shows a picture in its text (<img>), and 'image' is filled" in refused(
        tmp_path, row | {"image": "a.png"}, "argilla"
    )
    assert "is a web address" in refused(tmp_path, row | {"prompt": '<img src="https://host/a.png">What?'}, "argilla")


def test_a_picture_in_an_answer_of_argilla_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "What?", **VOTES, "response_1": f'No: <img src="{URI}">'}
    assert "response_1: has a file in its text" in refused(tmp_path, row, "argilla")
