"""Files that are not what they should be: a sentence with file, row, reason and remedy, and nothing is read by half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from mdpo_core import DataError, component
from mdpo_core.cli import main

ROWS = [
    {"prompt": "Wie heißt das “Boot”?", "chosen": "Ä boat.", "rejected": "Nö."},
    {"prompt": "What?", "chosen": "Yes.", "rejected": "No."},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TABLE = "prompt,chosen,rejected\n" + "".join(",".join(row.values()) + "\n" for row in ROWS)


def problems(path: Path | str, reader: str = "pairs", **options: Any) -> list[str]:
    """What is wrong with a file and its rows."""
    options = {"image": None} | options if reader == "pairs" else options
    try:
        rows = component("reader", reader, path=str(path), **options).open()  # type: ignore[attr-defined]
    except DataError as error:
        return [str(problem) for problem in error.problems]
    found = []
    for number in range(len(rows)):
        try:
            rows[number]
        except DataError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lines_in_two_bytes_for_a_letter_are_named(encoding: str, streaming: bool, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINES.encode(encoding))
    kind = encoding[:6].upper()
    assert problems(file, streaming=streaming) == [f"{file}: cannot be read as json: it is {kind}; save it as UTF-8"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_table_in_two_bytes_for_a_letter_is_named(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(TABLE.encode(encoding))
    zeros = "it contains zero bytes: the file is damaged, or not UTF-8; save it as UTF-8"
    assert problems(file) == [f"{file}:1: {zeros}"]


@pytest.mark.parametrize("encoding", ["cp1252", "gbk"])
def test_a_byte_of_another_encoding_is_named_with_its_line(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n" + LINES.encode(encoding, errors="ignore"))
    [found] = problems(file)
    assert found.startswith(f"{file} row 1, line 2: cannot be read as json: b'")
    assert "' is not UTF-8; save the file as UTF-8" in found
    table = tmp_path / "rows.csv"
    table.write_bytes(TABLE.encode(encoding, errors="ignore"))
    [found] = problems(table)
    assert found.startswith(f"{table}:2: b'")


@pytest.mark.parametrize("more", [{}, {"id": pyarrow.array(["a", "b"])}, {"image": pyarrow.array([b"", None])}])
def test_texts_as_raw_bytes_are_named(more: dict[str, Any], tmp_path: Path) -> None:
    columns = {name: pyarrow.array([row[name].encode() for row in ROWS]) for name in ROWS[0]}
    parquet.write_table(pyarrow.table({**columns, **more}), tmp_path / "rows.parquet")
    found = problems(tmp_path / "rows.parquet")
    assert len(found) == len(ROWS)
    expected = r"chosen: must be text (the column holds bytes; write it as text), found b'\xc3\x84 boat.'"
    assert found[0] == f"{tmp_path / 'rows.parquet'} row 1: {expected}"


def test_only_some_columns_may_be_bytes(tmp_path: Path) -> None:
    columns = {name: pyarrow.array([row[name] for row in ROWS]) for name in ROWS[0]}
    raw = pyarrow.array([b"No.", b"\xff"])
    parquet.write_table(pyarrow.table({**columns, "rejected": raw}), tmp_path / "rows.parquet")
    found = problems(tmp_path / "rows.parquet")
    assert [each.partition("row ")[2] for each in found] == [
        f"{row}: rejected: must be text (the column holds bytes; write it as text), found {value}"
        for row, value in ((1, "b'No.'"), (2, r"b'\xff'"))
    ]


@given(st.lists(st.lists(st.binary(max_size=3) | st.none(), min_size=1, max_size=3), min_size=1, max_size=4))
def test_no_row_of_bytes_is_lost(tmp_path_factory: pytest.TempPathFactory, rows: list[list[bytes | None]]) -> None:
    from mdpo_readers.tables.opening import open_table

    width = min(map(len, rows))
    columns = {f"c{place}": pyarrow.array([row[place] for row in rows], pyarrow.binary()) for place in range(width)}
    file = tmp_path_factory.mktemp("bytes") / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    table = open_table(str(file), "train")
    assert [list(table.row(number).values()) for number in range(len(table))] == [row[:width] for row in rows]
    assert len(table.select(["c0"])) == sum(map(len, table.scan())) == len(rows)
    assert list(table.column_names()) == list(columns)


def test_nulls_inside_are_named_with_their_place(tmp_path: Path) -> None:
    user, yes = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Yes."}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"prompt": [{"role": "user", "content": None}]}, "prompt[0]: must be text, found None"),
        ({"prompt": [None]}, "prompt[0]: must be a chat message: {role, content}, found None"),
        ({"prompt": [{"role": None, "content": "x"}]}, "prompt[0]: must be a role: system, user, assistant"),
        ({"prompt": [{"role": "user", "content": [None]}]}, "prompt[0]: must be a part of a message: "),
        ({"chosen": [{"role": "assistant", "content": [{"type": "text", "text": None}]}]}, "chosen[0]: must be text"),
        ({"rejected": {}}, "rejected[0]: must be a chat message: {role, content}, found {}"),
        ({"images": [None]}, "images: must be a path, or an embedded image with its bytes, found None"),
        ({"images": [{"bytes": None, "path": None}]}, "images: must be a path, or an embedded image"),
    ]
    for change, message in cases:
        row = {"prompt": [user], "chosen": [yes], "rejected": [yes], **change}
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))
        [found] = problems(tmp_path / "rows.jsonl", "trl")
        assert found.startswith(f"{tmp_path / 'rows.jsonl'} row 1: {message}")


@pytest.mark.parametrize("content", [{}, None, 1, "text", [1]])
def test_a_file_without_one_row_that_can_be_read_is_named(
    content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(content))
    assert main(["data", str(tmp_path / "rows.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path / 'rows.json'} row 1")
    assert "has no columns" in error if content == {} else "is not an object; rows are JSON objects" in error


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_pointer_of_git_is_named(name: str, streaming: bool, tmp_path: Path) -> None:
    if name.endswith(".csv") and streaming:
        return
    file = tmp_path / name
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n")
    [found] = problems(file, streaming=streaming)
    assert "it is a Git LFS pointer, not the file itself; run `git lfs pull`" in found


def test_one_shard_of_two_is_named_with_the_one_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "part-00000-of-00002.jsonl").write_text(LINES)
    missing = f"{tmp_path / 'part'}: 1 of 2 shards are missing, the first is number 1"
    for path in (tmp_path, tmp_path / "*.jsonl", tmp_path / "part-*"):
        for streaming in (False, True):
            assert problems(path, streaming=streaming) == [missing]
    assert problems(tmp_path / "other*.jsonl") == [f"{tmp_path / 'other*.jsonl'}: no file matches this pattern"]


def test_equal_ids_of_two_files_are_named(tmp_path: Path) -> None:
    from mdpo_core.testing import check_reader

    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**ROWS[1], "id": 7}))
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("a", "b")]
    with pytest.raises(AssertionError, match=r"gives the id '7' to rows .* ids must differ"):
        check_reader(component("reader", "pairs", path=paths, id="id", image=None))
    sources = {
        name: {"reader": "pairs", "path": path, "id": "id", "image": None}
        for name, path in zip("ab", paths, strict=True)
    }
    rows = component("reader", "mixture", sources=sources).open()  # type: ignore[attr-defined]
    assert [row.id for row in rows] == ["a/7", "b/7"]


def test_the_check_names_the_file_of_the_other_row_with_an_id(llava: Path, tmp_path: Path) -> None:
    from mdpo_core.data.checking import check_data
    from mdpo_core.data.encoding import BatchBuilder

    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**ROWS[1], "id": 7}))
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("a", "b")]
    rows = component("reader", "pairs", path=paths, id="id", image=None).open()  # type: ignore[attr-defined]
    encoder = component("adapter", "llava", path=str(llava), prompts="chat").encoder()  # type: ignore[attr-defined]
    builder = BatchBuilder.for_terms([component("loss", "dpo")], {}, encoder, 2048, seed=0)  # type: ignore[list-item]
    [[problem]] = check_data(rows, builder, lambda done, total: None).bad.values()
    words = "ids must differ: give one of the two another id"
    assert str(problem) == f"{paths[1]} row 1: {paths[0]} row 1 also has the id '7'; {words}"
