"""Layouts of folders, names of files and columns, and damage: nothing is read in part, and each fault is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from mdpo_core import DataError, component
from mdpo_core.cli import main

PAIR = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}


def lines_of(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(lines_of(*(rows or (PAIR,))))
    return file


def picture(file: Path, width: int = 9) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 7)).save(file)
    return file


def read(path: Any, reader: str = "trl", **options: Any) -> list[Any]:
    return list(component("reader", reader, path=path, **options).open())  # type: ignore[attr-defined]


def error(path: Any, reader: str = "trl", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, reader, **options)
    return str(caught.value)


def said(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["data", str(path)]) == 0
    return capsys.readouterr().out


def test_a_folder_with_more_data_below_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    write(folder / "a.jsonl")
    below = write(folder / "sub" / "deep" / "b.jsonl")
    message = f"{folder}: has data in folders below, too, such as {below}"
    assert message in error(str(folder))
    assert message in error(str(folder), streaming=True)
    assert f"write path: {folder}/**/*.jsonl to read all, or path: {folder}/*.jsonl" in error(str(folder))
    assert len(read(f"{folder}/**/*.jsonl")) == 2
    assert len(read(f"{folder}/*.jsonl")) == 1
    below.rename(folder / "sub" / "b.csv")
    assert f"write path: [{folder}/*.jsonl, {folder}/sub/*.csv] to read all" in error(str(folder))


@pytest.mark.parametrize("other", ["pics/a.png", "test/b.jsonl", "sub/config.json", ".cache/b.jsonl", "sub/notes.txt"])
def test_a_folder_below_without_rows_of_the_split_is_no_data(other: str, tmp_path: Path) -> None:
    write(tmp_path / "train-0.jsonl")
    write(tmp_path / other)
    assert len(read(str(tmp_path))) == 1


def test_an_image_folder_with_another_below_is_refused(tmp_path: Path) -> None:
    for name in ("own", "own/sub"):
        picture(tmp_path / name / "a.png")
        write(tmp_path / name / "metadata.jsonl", {**PAIR, "file_name": "a.png"})
    assert "has data in folders below, too" in error(str(tmp_path / "own"))


@pytest.mark.parametrize("named", ["metadata.jsonl", "metadata.*"])
def test_the_metadata_file_of_an_image_folder_brings_its_pictures(named: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 9)
    write(tmp_path / "metadata.jsonl", {**PAIR, "file_name": "a.png"})
    assert [row.images[0].size[0] for row in read(str(tmp_path / named))] == [9]


def test_two_columns_that_name_pictures_of_a_row_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        picture(tmp_path / name, 9 + number)
    rows = [{**PAIR, "file_name": "a.png", "image": "b.png"}]
    write(tmp_path / "metadata.jsonl", *rows)
    message = "row 1: file_name: names 'a.png', and the column 'image' of the same row has another picture"
    assert message in error(str(tmp_path), images=tmp_path)
    rows = [{**PAIR, "file_name": "a.png", "image": None}, {**PAIR, "file_name": None, "image": "b.png"}]
    write(tmp_path / "metadata.jsonl", *rows, {**PAIR, "file_name": "b.png", "image": "x/b.png"})
    picture(tmp_path / "x" / "b.png", 10)
    assert [row.images[0].size[0] for row in read(str(tmp_path), images=tmp_path)] == [9, 10, 10]


def test_mmpr_reads_a_list(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    row = {"image": "a.png", "question": "What?", "chosen": "Yes.", "rejected": "No."}
    files = [str(write(tmp_path / f"{number}.jsonl", row)) for number in range(2)]
    assert len(read(files, "mmpr", images=tmp_path)) == 2
    meta = tmp_path / "meta.json"
    meta.write_text(json.dumps({"own": {"root": ".", "annotation": "0.jsonl"}}))
    assert f"{meta}: is a meta file; give it alone" in error([files[0], str(meta)], "mmpr", images=tmp_path)


def test_a_folder_with_the_meta_file_of_mmpr_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "images" / "a.png")
    row = {"image": "a.png", "question": "What?", "chosen": "Yes.", "rejected": "No."}
    write(tmp_path / "annotations" / "0.jsonl", row)
    meta = tmp_path / "meta.json"
    meta.write_text(json.dumps({"own": {"root": "images", "annotation": "annotations/0.jsonl"}}))
    lines = said(tmp_path, capsys).splitlines()
    assert lines[0] == f"data: {{reader: mmpr, path: {meta}, images: {tmp_path}}}"


def test_rlhf_v_needs_its_two_columns_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png")
    text = json.dumps({"question": "What?", "chosen": "Yes.", "rejected": "No."})
    file = write(tmp_path / "a.jsonl", {"image": "a.png", "text": text})
    [row] = read(str(file), "rlhf_v", images=tmp_path)
    assert row.responses == {"chosen": "Yes.", "rejected": "No."}
    assert said(file, capsys).startswith("data: {reader: rlhf_v")
    write(file, {"image": "a.png", "text": "a boat"})
    assert not said(file, capsys).startswith("data: {reader: rlhf_v")


def test_columns_in_another_case_are_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png")
    file = write(tmp_path / "a.jsonl", {"Image": "a.png", "Question": "What?", "Chosen": "Yes.", "Rejected": "No."})
    line = said(file, capsys).splitlines()[0]
    options = "prompt: Question, image: Image, responses: {chosen: Chosen, rejected: Rejected}, marks: first"
    assert line == f"data: {{reader: pairs, path: {file}, {options}, images: {tmp_path}}}"
    message = "the column 'image' of RLAIF-V is missing; did you mean 'Image'?  (columns: Image, Question"
    assert message in error(str(file), "rlaif_v")
    write(file, {"Image": "a.png", "Question": "What?", "Chosen": "Yes.", "Other": "No."})
    assert "says which answer is better" not in said(file, capsys)


def test_a_picture_that_an_image_folder_lacks_is_no_matter_of_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "metadata.jsonl", *({**PAIR, "file_name": name} for name in ("a.png", "zz.png")))
    line, problem, *_ = said(tmp_path, capsys).splitlines()
    assert line == f"data: {{reader: trl, path: {tmp_path}}}"
    assert f"row 2: file_name: '{tmp_path / 'zz.png'}' cannot be read: No such file or directory" in problem


@pytest.mark.parametrize("name", ["A.JSONL", "a.Jsonl", "A.CSV", "A.JSON", "A.JSONL.GZ"])
def test_an_ending_in_capitals_is_read(name: str, tmp_path: Path) -> None:
    content = "prompt,chosen,rejected\nWhat?,Yes.,No.\n" if "CSV" in name else lines_of(PAIR)
    (tmp_path / name).write_bytes(gzip.compress(content.encode()) if name.endswith("GZ") else content.encode())
    assert [row.prompt for row in read(str(tmp_path / name))] == ["What?"]
    assert [row.prompt for row in read(str(tmp_path))] == ["What?"]


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    message = f"{tmp_path / 'b.jsonl'}: is a link to '{tmp_path / 'gone.jsonl'}', which does not exist"
    for path in (tmp_path / "b.jsonl", tmp_path, tmp_path / "*.jsonl"):
        assert message in error(str(path))


@pytest.mark.parametrize("number", [0, 3])
def test_a_text_of_parquet_that_is_not_utf8_is_named(number: int, tmp_path: Path) -> None:
    texts = [b"Yes."] * 5
    texts[number] = b"caf\xe9"
    chosen = pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())
    others = {name: ["No."] * 5 for name in ("prompt", "rejected")}
    parquet.write_table(pyarrow.table({**others, "chosen": chosen}), tmp_path / "a.parquet")
    message = f"a.parquet row {number + 1}: chosen: b'\\xe9' is not UTF-8; write the table again, in UTF-8"
    assert message in error(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("length", [7, 60, -4])
def test_a_parquet_file_that_was_cut_is_to_be_had_again(length: int, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({name: [text] * 9 for name, text in PAIR.items()}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:length])
    assert error(str(tmp_path / "a.parquet")).endswith("; the file is damaged: download it, or write it, again")


@pytest.mark.parametrize("usual", ["images", "pics", None])
def test_another_folder_with_the_same_pictures_is_named(
    usual: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**PAIR, "image": f"{number}.png"} for number in range(8)]
    file = write(tmp_path / "a.jsonl", *rows)
    folders = ["a_test", "b_train", *([usual] if usual else [])]
    for number in range(8):
        for name in folders:
            picture(tmp_path / name / f"{number}.png")
    (tmp_path / "a_test" / "7.png").unlink()  # not one of the first rows
    chosen, *others = [usual or "b_train", "b_train" if usual else "", "a_test"]
    shown = ", ".join(str(tmp_path / each) for each in others if each)
    line, note, *_ = said(file, capsys).splitlines()
    assert line == f"data: {{reader: trl, path: {file}, images: {tmp_path / chosen}}}"
    verb = "have" if usual else "has"
    assert note == f"  {shown} {verb} pictures of these names, too: is images the right folder?"


def test_a_byte_order_mark_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"\ufeff{lines_of(PAIR)}\ufeff{lines_of(PAIR)}", encoding="utf-8")
    message = "a.jsonl row 2: cannot be read as json: a byte-order mark stands in the middle of the file"
    assert message in error(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ('A?,B,C\nA?,"B,C\nA?,B,C\n', 3, "unexpected end of data (line 4); a text in quotes that begins in this line"),
        ('A?,"B\n""x""\nB","C\nD\n', 4, "unexpected end of data (line 5); a text in quotes that begins in this line"),
        ('A?,"B,C\nA?,B,C\nA?,"B",C\n', 2, "',' expected after '\"' (line 4); a text in quotes that begins in this"),
        ('A?,"B"b,C\n', 2, "',' expected after '\"'; a text in quotes that begins in this line"),
        ("A?,B\rb,C\n", 2, "a carriage return stands alone, and lines must end with a line feed"),
    ],
)
def test_a_fault_of_a_csv_file_is_named_where_it_begins(content: str, line: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f"prompt,chosen,rejected\n{content}".encode())
    assert f"a.csv:{line}: cannot be read as CSV: {reason}" in error(str(tmp_path / "a.csv"))


def test_a_csv_file_with_carriage_returns_alone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,chosen,rejected\rA?,B,C\r")
    assert "a.csv:1: cannot be read as CSV: a carriage return stands alone" in error(str(tmp_path / "a.csv"))
