"""LLaMA-Factory's ``dataset_info.json`` and its rows: what is wrong is named with file, row and column."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.paths import DATA

from mdpo_core import DataError, Example, Turn, component

BOAT = DATA / "formats" / "quirks" / "images" / "boat.png"
ANSWERS = {"chosen": "Yes.", "rejected": "No."}
ALPACA = {"instruction": "What?", "input": "", **ANSWERS}
ENTRY = {"file_name": "pairs.json", "ranking": True}
SHAREGPT = {**ENTRY, "formatting": "sharegpt"}


def read(folder: Path, entry: Any, row: dict[str, Any], **options: Any) -> list[Example]:
    (folder / "dataset_info.json").write_text(entry if isinstance(entry, str) else json.dumps({"boats": entry}))
    (folder / "pairs.json").write_text(json.dumps([row]))
    options = {"path": str(folder), **options}
    return list(component("reader", "llamafactory", dataset="boats", **options).open())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "columns": None}, "boats.columns: must be an object of names, found None"),
        ({**ENTRY, "columns": "x"}, "boats.columns: must be an object of names, found 'x'"),
        ({**ENTRY, "columns": {"prompt": ["a"]}}, r"boats.columns.prompt: must be a name, found \['a'\]"),
        ({**ENTRY, "columns": {"prompt": None}}, "boats.columns.prompt: must name a column, found null"),
        ({**ENTRY, "tags": None}, "boats.tags: must be an object of names, found None"),
        ({**ENTRY, "tags": [1]}, r"boats.tags: must be an object of names, found \[1\]"),
        ({**ENTRY, "tags": {"role_tag": None}}, "boats.tags.role_tag: must be a name, found None"),
        ({**ENTRY, "formatting": "nope"}, "boats.formatting: must be alpaca or sharegpt, found 'nope'"),
        ({**ENTRY, "formatting": ["alpaca"]}, "boats.formatting: must be alpaca or sharegpt"),
        ({**ENTRY, "file_name": 3}, "boats.file_name: must be the name of a file, found 3"),
        ({"ranking": True}, "boats.file_name: must be the name of a file, found None"),
        ({"hf_hub_url": "a/b", "ranking": True}, "boats: names only hf_hub_url; download the data set, and write"),
        ("[" * 100_000, "cannot be read: it is nested too deeply"),
        ("[]", "the data set 'boats' is missing"),
    ],
)
def test_a_fault_of_an_entry_is_named(entry: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"dataset_info.json: {message}"):
        read(tmp_path, entry, ALPACA)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": None}, "instruction: is empty, and so is 'input'"),
        ({"instruction": ""}, "instruction: is empty, and so is 'input'"),
        ({"history": [["a"]]}, r"history\[0\]: must be a pair: \[question, answer\], found \['a'\]"),
        ({"history": "ab"}, "history: must be a list of pairs"),
        ({"history": 5}, "history: must be a list of pairs"),
        ({"history": [["a", "b"], ["a", None]]}, r"history\[1\]: must be text, found None"),
        ({"history": ["ab"]}, r"history\[0\]: must be a pair"),
        ({"history": [{"a": 1, "b": 2}]}, r"history\[0\]: must be a pair"),
    ],
)
def test_a_fault_of_an_alpaca_row_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    entry = {**ENTRY, "columns": {"history": "history"}}
    with pytest.raises(DataError, match=rf"pairs.json row 1: {message}"):
        read(tmp_path, entry, {**ALPACA, **row})


@pytest.mark.parametrize("role", [["human"], {"human": 1}, 3, None])
def test_a_role_that_is_no_text_is_named(role: Any, tmp_path: Path) -> None:
    row = {"conversations": [{"from": role, "value": "What?"}], **ANSWERS}
    with pytest.raises(DataError, match=r"pairs.json row 1: conversations\[0\]: must be a role"):
        read(tmp_path, SHAREGPT, row)


def test_history_and_system_stand_before_the_question(tmp_path: Path) -> None:
    entry = {**ENTRY, "columns": {"history": "history", "system": "system", "images": None}}
    row = {**ALPACA, "input": "Now?", "history": [["Who?", "Me."]], "system": "Be brief."}
    [example] = read(tmp_path, entry, row)
    turns = [("system", "Be brief."), ("user", "Who?"), ("assistant", "Me."), ("user", "What?\nNow?")]
    assert example.prompt == tuple(Turn(role, text) for role, text in turns)  # type: ignore[arg-type]


def test_pictures_are_below_images_then_media_dir_then_the_folder(tmp_path: Path) -> None:
    for place, folder in enumerate(("", "media", "own")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(BOAT, tmp_path / folder / f"{place}.png")
    for place, options in enumerate(({}, {"media_dir": "media"}, {"media_dir": "media", "images": tmp_path / "own"})):
        [example] = read(tmp_path, ENTRY, {**ALPACA, "images": [f"{place}.png"]}, **options)
        assert len(example.images) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"media_dir": "no"}, "data.media_dir: .*no': this folder does not exist"),
        ({"images": "no"}, "data.images: .*'no'"),
    ],
)
def test_the_folder_that_is_used_must_be_there(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, ENTRY, ALPACA, **options)


def test_the_path_is_the_folder_and_not_the_file_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"pairs.json: data.path must be the folder .* write path: {tmp_path}"):
        read(tmp_path, ENTRY, ALPACA, path=str(tmp_path / "pairs.json"))
