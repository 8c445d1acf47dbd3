"""Streams of rows against the same files, read whole."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import DATA

from mdpo_core import Block, DataError, Example, Reader, component

ROWS = [
    {"img_path": "a.png", "prompt": f"<image>\nNo. {n}\u2028?", "chosen": f"yes {n}", "rejected": "no"}
    for n in range(23)
]


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_lines(folder: Path) -> Path:
    (folder / "rows.jsonl").write_text(as_lines(ROWS[:9]) + "\n" + as_lines(ROWS[9:]))  # with an empty line
    return folder / "rows.jsonl"


def write_packed(folder: Path) -> Path:
    (folder / "rows.ndjson.gz").write_bytes(gzip.compress(as_lines(ROWS).encode()))
    return folder / "rows.ndjson.gz"


def write_parquet(folder: Path) -> Path:
    datasets.Dataset.from_list(ROWS).to_parquet(folder / "rows.parquet", batch_size=5)
    return folder / "rows.parquet"


def write_shards(folder: Path) -> Path:
    (folder / "shards").mkdir()
    for number, rows in enumerate([ROWS[:6], ROWS[6:]]):
        (folder / "shards" / f"train-{number:05}-of-00002.jsonl").write_text(as_lines(rows))
    return folder / "shards"


WRITERS = [write_lines, write_packed, write_parquet, write_shards]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (9, 7), "red").save(tmp_path / "a.png")
    return tmp_path


def reader(path: Path, folder: Path, **options: Any) -> Reader:
    made = component("reader", "pairs", path=str(path), images=str(folder), **options)
    assert isinstance(made, Reader)
    return made


def taken(blocks: list[Block]) -> list[tuple[int, Example]]:
    return [(block.epoch, example) for block in blocks for example in block.rows]


@pytest.mark.parametrize("write", WRITERS)
def test_a_stream_gives_the_rows_of_the_file_pass_after_pass(write: Callable[[Path], Path], folder: Path) -> None:
    path = write(folder)
    plain = list(reader(path, folder).open())
    streamed = reader(path, folder, streaming=True, shuffle_buffer=10)
    blocks = list(islice(streamed.stream().blocks(), 5))
    assert [(block.number, block.epoch, len(block.rows)) for block in blocks] == [
        (0, 0, 10), (1, 0, 10), (2, 0, 3), (3, 1, 10), (4, 1, 10),
    ]  # fmt: skip
    expected = [(0, row) for row in plain] + [(1, row) for row in plain[:20]]
    assert taken(blocks) == expected
    assert list(streamed.open()) == plain[:10]


@pytest.mark.parametrize("write", WRITERS)
def test_the_state_of_a_block_leads_to_the_same_rows(write: Callable[[Path], Path], folder: Path) -> None:
    path = write(folder)

    @settings(max_examples=15, deadline=None)
    @given(size=st.integers(1, 30), number=st.integers(0, 12))
    def resumes(size: int, number: int) -> None:
        stream = reader(path, folder, streaming=True, shuffle_buffer=size).stream()
        blocks = list(islice(stream.blocks(), number + 3))
        state = json.loads(json.dumps(blocks[number].state))
        again = list(islice(reader(path, folder, streaming=True, shuffle_buffer=size).stream().blocks(state), 3))
        assert [each.number for each in again] == [each.number for each in blocks[number:]]
        assert taken(again) == taken(blocks[number:])

    resumes()


def test_named_formats_stream_their_several_pairs_a_row() -> None:
    folder = DATA / "formats" / "vlfeedback"
    options = {"path": str(folder / "vlfeedback.jsonl"), "images": str(folder)}
    plain = component("reader", "vlfeedback", **options)
    streamed = component("reader", "vlfeedback", **options, streaming=True, shuffle_buffer=1)
    assert isinstance(plain, Reader)
    assert isinstance(streamed, Reader)
    one_pass = takewhile(lambda block: block.epoch == 0, streamed.stream().blocks())
    assert [example for block in one_pass for example in block.rows] == list(plain.open())


def test_a_block_can_be_sent_to_a_worker(folder: Path) -> None:
    block = next(iter(reader(write_parquet(folder), folder, streaming=True).stream().blocks()))
    assert list(pickle.loads(pickle.dumps(block.rows))) == list(block.rows)


def test_bad_rows_are_named_by_their_place_in_the_source(folder: Path) -> None:
    lines = as_lines(ROWS).split("\n")
    lines[12] = '{"img_path": "a.png", '
    (folder / "rows.jsonl").write_text("\n".join(lines))
    blocks = list(islice(reader(folder / "rows.jsonl", folder, streaming=True, shuffle_buffer=10).stream().blocks(), 2))
    with pytest.raises(DataError, match=r"rows\.jsonl row 13: cannot be read as json"):
        blocks[1].rows[2]
    assert blocks[1].rows[3].id == "14"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.json", b"[]", r"\.json cannot be streamed; write \.jsonl or \.ndjson or \.parquet"),
        ("rows.csv", b"a,b", r"\.csv cannot be streamed"),
        ("rows.jsonl", b"", "there are no rows"),
        ("rows.jsonl", b"\n\n", "there are no rows"),
        ("rows.jsonl", b'{"prompt": "x"}\n', "the column 'img_path' is missing"),
        ("rows.parquet", b"PAR1 no", "rows.parquet, after row 0: cannot be read"),
        ("rows.jsonl.gz", b"no", "rows.jsonl.gz: cannot be unpacked: .*; download it, or pack it, again"),
    ],
)
def test_what_cannot_be_streamed_is_refused(name: str, content: bytes, message: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        reader(folder / name, folder, streaming=True).open()


def test_a_missing_file_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="neither a file nor a folder"):
        reader(folder / "nothing.jsonl", folder, streaming=True).open()


def test_a_source_of_a_mixture_and_a_meta_file_cannot_be_streamed(folder: Path) -> None:
    with pytest.raises(Exception, match="source 'a': a mixture needs the number of rows"):
        component("reader", "mixture", sources={"a": {"reader": "pairs", "path": "x.jsonl", "streaming": True}})
    meta = DATA / "formats" / "mmpr" / "MMPR-v1.2" / "meta.json"
    with pytest.raises(DataError, match="meta file, and a stream is one table"):
        component("reader", "mmpr", path=str(meta), images=str(folder), streaming=True).open()


def test_a_line_that_is_no_utf8_is_one_bad_row_and_a_mark_of_bytes_is_none(folder: Path) -> None:
    lines = [line.encode() for line in as_lines(ROWS[:4]).split("\n")]
    lines[2] = lines[2].replace(b"yes", b"\xe9")
    (folder / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    rows = reader(folder / "rows.jsonl", folder, streaming=True).open()
    assert [rows[number].id for number in (0, 1, 3)] == ["1", "2", "4"]
    with pytest.raises(DataError, match=r"row 3: cannot be read as json: .*xe9.* is not UTF-8; save the file as UTF-8"):
        rows[2]


def test_shards_may_differ_in_columns_that_nothing_reads_and_their_rows_are_named(folder: Path) -> None:
    (folder / "shards").mkdir()
    for number, rows in enumerate([ROWS[:3], [row | {"more": 1.5} for row in ROWS[3:6]]]):
        named = [row | {"idx": (str, int)[number](place)} for place, row in enumerate(rows)]
        if number:
            named[1]["rejected"] = ""
        datasets.Dataset.from_list(named).to_parquet(folder / "shards" / f"{number}.parquet")
    stream = reader(folder / "shards", folder, streaming=True, shuffle_buffer=4).stream()
    first, second = islice(stream.blocks(), 2)
    assert [row.id for row in first.rows] == ["1", "2", "3", "4"]
    assert second.rows.place(0) == f"{folder / 'shards' / '1.parquet'} row 2"  # type: ignore[attr-defined]
    assert second.rows.origin(0) == ("", str(folder / "shards" / "1.parquet"))  # type: ignore[attr-defined]


def test_rows_of_a_later_block_without_a_column_are_bad_one_by_one(folder: Path) -> None:
    rows = [*ROWS[:3], *({**row, "rejected": None} for row in ROWS[3:6])]
    for row in rows[3:]:
        del row["rejected"]
    (folder / "rows.jsonl").write_text(as_lines(rows))
    first, second = islice(reader(folder / "rows.jsonl", folder, streaming=True, shuffle_buffer=3).stream().blocks(), 2)
    assert len(list(first.rows)) == 3
    with pytest.raises(DataError, match=r"rows\.jsonl row 5: rejected: "):
        second.rows[1]
