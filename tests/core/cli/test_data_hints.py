"""What `mdpo data` says when the line that it prints does not read the rows yet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.paths import DATA

from mdpo_core.cli import main

FORMATS = DATA / "formats"
SHARED = FORMATS / "llamafactory_sharegpt"
PAIR = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}
NOT_YET = "  this line does not read the first rows yet: "


def said(path: Path, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert main(["data", str(path)]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def with_entries(folder: Path, **changes: dict[str, Any]) -> Path:
    """A folder of LLaMA-Factory with an entry for each of ``changes``."""
    shutil.copytree(SHARED, folder)
    boats = json.loads((folder / "dataset_info.json").read_text())["boats"]
    (folder / "dataset_info.json").write_text(
        json.dumps({name: {**boats, **change} for name, change in changes.items()})
    )
    return folder


@pytest.mark.parametrize("name", ["", "dataset_info.json", "pairs.json"])
def test_two_data_sets_may_share_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_entries(tmp_path / "sets", boats={}, again={})
    lines = said(folder / name, capsys).splitlines()[:2]
    assert lines == [f"data: {{reader: llamafactory, path: {folder}, dataset: {each}}}" for each in ("boats", "again")]


def test_a_data_set_in_a_folder_below_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_entries(tmp_path / "sets", boats={"file_name": "below/pairs.json"})
    (folder / "below").mkdir()
    (folder / "pairs.json").rename(folder / "below" / "pairs.json")
    line = f"data: {{reader: llamafactory, path: {folder}, dataset: boats}}"
    assert said(folder, capsys).splitlines()[0] == line
    assert said(folder / "below" / "pairs.json", capsys).splitlines()[0] == line


def test_a_data_set_without_its_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_entries(tmp_path / "sets", gone={"file_name": "gone.json"}, boats={})
    gone, problem, boats, *_ = said(folder, capsys).splitlines()
    assert gone == f"data: {{reader: llamafactory, path: {folder}, dataset: gone}}"
    assert problem == f"{NOT_YET}{folder / 'gone.json'}: the file or folder does not exist"
    assert boats == f"data: {{reader: llamafactory, path: {folder}, dataset: boats}}"


def test_a_line_that_cannot_read_the_rows_says_why_and_keeps_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = with_entries(tmp_path / "sets", boats={"columns": {"messages": "chosen", "images": "images"}})
    (folder / "images").rename(tmp_path / "images")
    rows = (folder / "pairs.json").read_text().replace("images/", "")
    (folder / "pairs.json").write_text(rows)
    line, problem, *_ = said(folder, capsys).splitlines()
    assert line == f"data: {{reader: llamafactory, path: {folder}, dataset: boats, images: {tmp_path / 'images'}}}"
    assert problem.startswith(f"{NOT_YET}{folder / 'pairs.json'} row 1: ")
    assert "chosen: must be a list of messages" in problem


def test_a_line_that_cannot_be_opened_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_entries(tmp_path / "sets", boats={"num_samples": 7})
    problem = said(folder, capsys).splitlines()[1]
    assert problem.startswith(NOT_YET)
    assert problem.endswith("boats.num_samples: is not read; remove it, and set data.split: train[:7]")


def test_a_bad_row_behind_a_good_one_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, [{**PAIR, "image": None}, {**PAIR, "image": None, "chosen": 5}])))
    assert f"{NOT_YET}{file} row 2: chosen: must be text, found 5" in said(file, capsys).splitlines()


def test_a_pair_that_is_not_sound_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({**PAIR, "rejected": "Yes."}))
    assert "the first pair cannot be trained on: the responses 'chosen' and 'rejected' are equal" in said(file, capsys)


def test_what_the_user_has_to_fill_in_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"q": "A?", "good": "B", "rejected": "C", "shot": "far/away.png"}))
    line, problem, *_ = said(file, capsys).splitlines()
    assert line.endswith("image: shot, responses: {chosen: COLUMN, rejected: rejected}, images: FOLDER}")
    assert problem == f"{NOT_YET}write the name of a column in place of each COLUMN"
    file.write_text(json.dumps({**PAIR, "image": "far/away.png"}))
    line, problem, *_ = said(file, capsys).splitlines()
    assert line.endswith("images: FOLDER}")
    assert "no folder near the data has the pictures of the first rows: write theirs in place of FOLDER" in problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "prompt;chosen;rejected\nA?;B;C\n", "are separated by ';', and not by ',': 3 columns; write"),
        ("a.csv", '"prompt";"chosen, the good one"\n"A, b?";"B"\n', "by ';', and not by ',': 2 columns"),
        ("a.csv", "prompt\tchosen\trejected\nA?\tB\tC\n", r"by '\t', and not by ',': 3 columns; name the file .tsv"),
        ("a.tsv", "prompt,chosen,rejected\nA?,B,C\n", r"by ',', and not by '\t': 3 columns; name the file .csv"),
        ("a.csv", "\ufeffprompt|chosen|rejected\nA?|B|C\n", "by '|', and not by ','"),
    ],
)
def test_a_file_with_other_separators_is_named(
    name: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    error = said(tmp_path / name, capsys, status=2)
    assert f"{tmp_path / name}:1: " in error
    assert message in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": [PAIR, PAIR]}, "whose rows are in the list 'data' (2 rows): write that list alone into a file"),
        ({"version": 1, "rows": [PAIR]}, "whose rows are in the list 'rows' (1 row)"),
        ({"train": [PAIR, PAIR], "test": [PAIR]}, "in the list 'train' (2 rows) and 'test' (1 row): write each list"),
        ({"annotations": [PAIR], "images": ["a.png"]}, "whose rows are in the list 'annotations' (1 row)"),
        ({"first": PAIR, "second": PAIR}, "whose 2 rows have names, such as 'first': write the rows as a list"),
        ({name: {"0": text} for name, text in PAIR.items()}, "of columns, 'prompt' and so on, and not of rows"),
    ],
)
def test_a_file_that_is_one_object_is_named(
    content: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mdpo_core import DataError, component

    file = tmp_path / "rows.json"
    file.write_text(json.dumps(content))
    assert message in said(file, capsys).splitlines()[1]
    if set(content) != set(PAIR):
        for reader in ("pairs", "swift"):
            with pytest.raises(DataError) as caught:
                component("reader", reader, path=str(file)).open()  # type: ignore[attr-defined]
            assert message in str(caught.value)


def test_a_file_with_one_row_is_not_taken_for_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"id": 1, "dialogue": messages, "other": messages}))
    assert "the file is one object" not in said(file, capsys)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIR, "images": [], "system": "Be brief."}, "system: holds a system prompt that nothing reads"),
        ({**PAIR, "images": [], "winner": "rejected"}, "winner: prefers 'rejected', and the recipe prefers 'chosen'"),
        ({**PAIR, "images": [], "x": {"path": "a.png"}}, "x: holds a picture that nothing reads"),
    ],
)
def test_what_the_format_of_a_line_leaves_unread_is_said(
    row: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datasets import Dataset

    Dataset.from_list([row]).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    for file in (tmp_path / "rows.jsonl", tmp_path / "rows.parquet"):
        line, problem, *_ = said(file, capsys).splitlines()
        assert line.startswith(f"data: {{reader: trl, path: {file}")
        assert f"row 1: {message}" in problem


@pytest.mark.parametrize("picture", [{"path": "img/a.png"}, [{"path": "img/a.png"}], "img/a.png"])
def test_a_column_of_pictures_is_found_by_its_values(
    picture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    (tmp_path / "img").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "img" / "a.png")
    (tmp_path / "rows.jsonl").write_text(json.dumps({**PAIR, "x": picture}))
    line = f"data: {{reader: pairs, path: {tmp_path / 'rows.jsonl'}, image: x, marks: first, images: {tmp_path}}}"
    assert said(tmp_path / "rows.jsonl", capsys).splitlines()[0] == line
