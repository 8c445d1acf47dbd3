"""Rows whose responses continue an answer: the option `beginning` of the reader `pairs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from support.one_row import read, refused

from mdpo_core import Begun, DataError, component
from mdpo_core.data.responses import begun_prompt
from mdpo_core.data.validity import problems_of_row
from mdpo_core.testing import check_reader

ROW = {"prompt": "What?", "context": "A boat.", "chosen": "It is red.", "rejected": "It flies."}
OPTIONS: dict[str, Any] = {"image": None, "beginning": "context"}


@pytest.mark.parametrize(
    ("context", "begun"), [("A boat.", "A boat."), ("A boat. ", "A boat. "), ("", ""), (None, ""), (" \n", "")]
)
def test_beginning_is_as_it_is_written_and_null_or_blank_is_none(
    context: str | None, begun: str, tmp_path: Path
) -> None:
    row = read(tmp_path, {**ROW, "context": context}, **OPTIONS)
    assert row.begun == Begun(begun)
    assert row.responses == {"chosen": "It is red.", "rejected": "It flies."}
    assert row.whole_answer("chosen") == f"{begun.strip()} It is red.".lstrip()
    assert problems_of_row(row) == []


def test_joint_and_unfinished_are_options(tmp_path: Path) -> None:
    row = read(tmp_path, ROW, **OPTIONS, joint="", unfinished=True)
    assert row.begun == Begun("A boat.", joint="", unfinished=True)
    assert row.whole_answer("rejected") == "A boat.It flies."
    assert read(tmp_path, ROW, image=None, unfinished=True).begun == Begun("", unfinished=True)
    assert read(tmp_path, ROW, image=None).begun is None


def test_messages_go_on_from_their_first_turn(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "It is red."}]
    row = read(tmp_path, {**ROW, "chosen": said}, **OPTIONS)
    assert row.whole_answer("chosen") == "A boat. It is red."


def test_beginning_has_the_mark_of_the_data_refused_as_in_a_response(tmp_path: Path) -> None:
    row = read(tmp_path, {**ROW, "context": "A <img> boat."}, **OPTIONS, image_mark="<img>")
    assert any("the beginning of the answer contains an <image> mark" in each for each in problems_of_row(row))


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (3, "rows.jsonl row 1: context: must be text, found 3"),
        (["A boat."], "rows.jsonl row 1: context: must be text, found ['A boat.']"),
        ({"role": "assistant", "content": "A boat."}, "rows.jsonl row 1: context: must be text, found {'content'"),
        (True, "rows.jsonl row 1: context: must be text, found True"),
    ],
)
def test_beginning_of_a_wrong_type_is_refused(context: object, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, {**ROW, "context": context}, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**OPTIONS, "joint": "\n<image>"}, "joint contains the mark <image>; only prompts may contain one"),
        ({**OPTIONS, "joint": " <img> ", "image_mark": "<img>"}, "joint contains the mark <img>"),
        ({"joint": "\n"}, "joint stands behind the beginning of an answer: add beginning: COLUMN"),
        ({"joint": "", "unfinished": True}, "joint stands behind the beginning of an answer"),
    ],
)
def test_joint_that_would_be_wrong_or_do_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        component("reader", "pairs", path="rows.jsonl", **options)


def test_response_may_begin_with_a_longer_word(tmp_path: Path) -> None:
    row = read(tmp_path, {**ROW, "context": "I", "chosen": "It is red.", "rejected": "In it is a boat."}, **OPTIONS)
    assert problems_of_row(row) == []
    again = read(tmp_path, {**ROW, "context": "It", "chosen": "It is red.", "rejected": "It, a boat."}, **OPTIONS)
    assert any("every response starts with the beginning" in each for each in problems_of_row(again))


@pytest.mark.parametrize("joint", [" ", "\n", "", " It "])
def test_samples_go_on_behind_the_joint(joint: str, llava: Path, tmp_path: Path) -> None:
    """A space belongs to the next word, so none is at the end."""
    encoder = component("adapter", "llava", path=str(llava)).encoder()  # type: ignore[attr-defined]
    row = read(tmp_path, ROW, **OPTIONS, joint=joint)
    before = len(encoder.encode_prompt(row).token_ids)
    added = begun_prompt(encoder, row).token_ids[before:]
    *expected, _ = encoder.encode_response(f"A boat.{joint}".rstrip(" ")).tolist()  # the last one ends the turn
    assert added.tolist() == expected


def test_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    message = refused(tmp_path, ROW, image=None, beginning="contxt")
    assert "the column 'contxt' is missing; did you mean 'context'?" in message


def test_csv_has_no_null_so_empty_text_is_no_beginning(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,context,chosen,rejected\nWhat?,,Red.,Blue.\nWhat?,A boat.,It is red.,It flies.\n")
    rows = component("reader", "pairs", path=str(file), **OPTIONS).open()  # type: ignore[attr-defined]
    assert [row.begun for row in rows] == [Begun(""), Begun("A boat.")]


@pytest.mark.parametrize("reader", ["pairs", "sentinel"])
def test_contract_with_beginnings(reader: str, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [
        {"image_path": "a.png", "question": "What?", "context": context, "y_win": "It is red.", "y_lose": "It flies."}
        for context in ("A boat.", "", None)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options: dict[str, Any] = {}
    if reader == "pairs":
        options = {
            "prompt": "question",
            "image": "image_path",
            "responses": {"chosen": "y_win", "rejected": "y_lose"},
            "beginning": "context",
            "unfinished": True,
            "marks": "first",
        }
    made = component("reader", reader, path=str(file), images=tmp_path, **options)
    check_reader(made)  # type: ignore[arg-type]
    assert [row.begun for row in made.open()] == [  # type: ignore[attr-defined]
        Begun("A boat.", unfinished=True),
        Begun("", unfinished=True),
        Begun("", unfinished=True),
    ]


def test_whole_answers_beside_their_beginning_stop_a_run(tmp_path: Path) -> None:
    row = read(tmp_path, {**ROW, "chosen": "A boat. It is red.", "rejected": "A boat. It flies."}, **OPTIONS)
    [problem] = problems_of_row(row)
    assert "every response starts with the beginning of the answer" in problem


@pytest.mark.parametrize("column", ["context", "y_win", "y_lose"])
def test_a_sentence_that_is_no_text_is_refused(column: str, tmp_path: Path) -> None:
    row = {"image_path": None, "question": "What?", "context": "A.", "y_win": "B.", "y_lose": "C.", column: [1]}
    with pytest.raises(DataError, match=f"rows.jsonl row 1: {column}: must be text"):
        read(tmp_path, row, "sentinel")
