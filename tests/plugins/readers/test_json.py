"""Rows of JSON files: each value as it is written, or the row is named; no row is changed, and none is lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from support.pairs import PROMPT

from mdpo_core import DataError, component

ROW = {"img_path": "00.jpg", "prompt": PROMPT, "chosen": "A temple.", "rejected": "A flower.", "name": "r2"}
GOOD = json.dumps({**ROW, "name": "r1"}).encode()
BASE = json.dumps(ROW)


def open_rows(file: Path, photographs: Path, **options: Any) -> Any:
    return component("reader", "pairs", path=str(file), images=photographs, **options).open()  # type: ignore[attr-defined]


def in_list(row: bytes, folder: Path) -> Path:
    (folder / "pairs.json").write_bytes(b"[" + GOOD + b",\n" + row + b",\n" + GOOD + b"]")
    return folder / "pairs.json"


def in_lines(row: bytes, folder: Path) -> Path:
    (folder / "pairs.jsonl").write_bytes(GOOD + b"\n\n" + row + b"\n" + GOOD)
    return folder / "pairs.jsonl"


def message(file: Path, photographs: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_rows(file, photographs)
    return str(caught.value)


@pytest.mark.parametrize("write", [in_list, in_lines])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (BASE[:-1] + ', "chosen": "Again."}', "the key 'chosen' occurs twice in one object"),
        (BASE[:-1] + ', "x": {"a": 1, "\\u0061": 1}}', "the key 'a' occurs twice in one object"),
        ("null", "null is not an object; rows are JSON objects"),
        ('["' + "x" * 90 + '"]', f'["{"x" * 38}... is not an object'),
        (BASE.replace("temple", "caf\udce9"), r"b'\xe9' is not UTF-8; save the file as UTF-8"),
        (BASE.replace("temple", "\\ud83d"), r"it contains \ud83d, which is half of a character"),
        (BASE.replace("temple", "\0"), "it contains zero bytes"),
        (BASE[:-1] + ', "x": 1e-400}', "the number 1e-400 is too small for a float, which would be 0"),
        (BASE[:-1] + ', "x": [-1e400]}', "the number -1e400 is too large for a float"),
        (BASE[:-1] + f', "x": {"1" * 5000}}}', "it contains a whole number with thousands of digits"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(
    row: str, reason: str, write: Any, tmp_path: Path, photographs: Path
) -> None:
    file = write(row.encode(errors="surrogateescape"), tmp_path)
    data = open_rows(file, photographs)
    with pytest.raises(DataError) as caught:
        data[1]
    found = str(caught.value)
    assert found.startswith(f"{file} row 2")
    assert (", line 3: " in found) is (file.suffix == ".jsonl")
    assert f"cannot be read as json: {reason}" in found
    assert len(found) < 500
    assert [data[number].responses["chosen"] for number in (0, 2)] == ["A temple."] * 2


@pytest.mark.parametrize("write", [in_list, in_lines])
@pytest.mark.parametrize("text", ["007", " 3 ", "1e3", "true", "null", "2026-01-31", "2026-01-31T10:00:00", "NaN"])
def test_a_text_stays_a_text_beside_numbers(text: str, write: Any, tmp_path: Path, photographs: Path) -> None:
    file = write(json.dumps({**ROW, "chosen": text, "name": text, "rejected": "B"}).encode(), tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"r1"', b"7", 1))
    row, number = open_rows(file, photographs, id="name")[1], open_rows(file, photographs, id="name")[0]
    assert (row.responses["chosen"], row.id, number.id) == (text, text, "7")


def test_columns_called_type_and_message_stay_what_they_are(tmp_path: Path, photographs: Path) -> None:
    """The library takes such rows for the log of an agent."""
    row = {**ROW, "type": "user", "message": {"role": "user", "content": [{"a": 1}, "x"]}}
    assert open_rows(in_lines(json.dumps(row).encode(), tmp_path), photographs)[1].responses["chosen"] == "A temple."


@pytest.mark.parametrize("content", ["null", "true", '"text"', "3", "[null]", "null\n", "\ufeffnull", "[[]]", "nul"])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path, photographs: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content, encoding="utf-8")
    found = message(file, photographs)
    assert found.startswith(f"{file} row 1")
    assert "rows are JSON objects: one list of them, or one on each line" in found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps([ROW]).encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (json.dumps(ROW).encode("utf-16-le"), "it is UTF-16; save it as UTF-8"),
        (json.dumps(ROW).encode("utf-32"), "it is UTF-32; save it as UTF-8"),
        (b"\x1f\x8b\x08\0\0\0", "it is an archive (gzip); unpack it"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "it is a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
        (b"<!DOCTYPE html>", "it is a web page; download the file itself"),
        (b"<!-- x -->\n<html>", "it is a web page; download the file itself"),
        (b"<Error/>", "it is XML or a web page; download the file itself"),
        (b"7z\xbc\xaf\x27\x1c\0", "it is an archive (7z); unpack it"),
        (b"PAR1\x15\0", "it is a Parquet file; name it .parquet"),
        (b"\0" * 50, "it is a file that begins with zeros, so it was not written whole; download it again"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[" + GOOD + b",\n" + b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b"[" + GOOD + b",]", "row 2, line 1: cannot be read as json: Expecting value"),
        (
            b"[" + GOOD + b"\n" + GOOD + b"]",
            "pairs.json row 2: cannot be read as json: Expecting ',' delimiter in column 1",
        ),
        (b"[" + GOOD + b",\n" + GOOD, "pairs.json row 3, line 2: cannot be read as json: Expecting ',' delimiter"),
        (b"[\n" + GOOD + b"]\n x", "line 3: cannot be read as json: Extra data after the list in column 2"),
    ],
)
def test_a_file_that_shows_no_rows_is_refused(content: bytes, reason: str, tmp_path: Path, photographs: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_bytes(content)
    found = message(file, photographs)
    assert found.startswith(str(file))
    assert reason in found


def test_bad_rows_are_counted_if_none_is_good(tmp_path: Path, photographs: Path) -> None:
    """A file in another encoding, mostly: the commonest of all bad files."""
    rows = [{**ROW, "chosen": f"Un caf\u00e9 {number}"} for number in range(30)]
    file = tmp_path / "pairs.jsonl"
    file.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("cp1252"))
    assert message(file, photographs).startswith(
        f"30 times, first in {file} row 1: cannot be read as json: b'\\xe9' is not"
    )


@pytest.mark.parametrize("before", ["", "\ufeff", "\n \n"])
def test_rows_that_each_take_several_lines_are_read(before: str, tmp_path: Path, photographs: Path) -> None:
    file = tmp_path / "pairs.json"
    for rows in ([ROW], [ROW, {**ROW, "chosen": "Leaves."}]):
        texts = [json.dumps(row, indent=1) for row in rows]
        for content in ("\n".join(texts), "\r".join(text.replace("\n", " ") for text in texts)):
            file.write_text(before + content, encoding="utf-8")
            assert [row.responses["chosen"] for row in open_rows(file, photographs)] == [row["chosen"] for row in rows]


def test_a_column_may_begin_in_a_later_row(tmp_path: Path, photographs: Path) -> None:
    data = open_rows(in_lines(json.dumps({**ROW, "score": 0.5}).encode(), tmp_path), photographs, columns=("score",))
    assert data[1].columns == {"score": 0.5}
    with pytest.raises(DataError, match="row 1: score: must be a finite number, found None"):
        data[0]


@pytest.mark.parametrize("number", ["9007199254740993", "1" + "0" * 400, "-1" + "0" * 400])
def test_a_whole_number_that_a_float_would_round_is_refused(number: str, tmp_path: Path, photographs: Path) -> None:
    file = in_lines((BASE[:-1] + f', "score": {number}}}').encode(), tmp_path)
    with pytest.raises(DataError, match="row 2: score: must be a number that a float holds exactly") as caught:
        open_rows(file, photographs, columns=("score",))[1]
    assert len(str(caught.value)) < 500


def test_a_value_nested_deeply_is_shown_shortened(tmp_path: Path, photographs: Path) -> None:
    file = in_lines(BASE.replace('"A temple."', "[" * 700 + "]" * 700).encode(), tmp_path)
    with pytest.raises(DataError, match=r"row 2: chosen\[0\]: must be a chat message") as caught:
        open_rows(file, photographs)[1]
    assert len(str(caught.value)) < 500


def test_a_path_too_long_for_the_disk_is_refused(photographs: Path) -> None:
    assert "is not a path that can be read: File name too long" in message(Path("x" * 5000 + ".json"), photographs)


@pytest.mark.parametrize("write", [in_list, in_lines])
def test_a_cache_that_cannot_be_written_is_named_not_the_data(
    write: Any, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(GOOD, tmp_path)
    (tmp_path / "taken").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "taken" / "cache")
    assert open_rows(file, photographs)[1].responses["chosen"] == "A temple."  # needs no cache
    packed = tmp_path / f"{file.name}.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    found = message(packed, photographs)
    assert found.startswith(f"{tmp_path / 'taken' / 'cache'}: the cache of `datasets` cannot be written")
    assert found.endswith("set HF_DATASETS_CACHE to a writable folder")
