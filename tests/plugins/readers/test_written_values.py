"""Conversations and lists that are written as text in a cell are read as what they are, by every reader."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_readers import TableReader
from mdpo_readers.formats.recognition import format_of
from mdpo_readers.formats.written import meant
from mdpo_readers.tables.opening import open_table
from pyarrow import parquet
from support.one_row import BASE64, PICTURE, read, refused
from support.reader_rows import NO, ROWS, USER, YES

from mdpo_core import Example, component
from mdpo_core.data.validity import problems_of_row

IDS = [f"{place}-{reader}" for place, (reader, _) in enumerate(ROWS)]


def as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def in_csv(folder: Path, row: dict[str, Any], written: Callable[[Any], str]) -> Path:
    return _in_rows(folder / "rows.csv", ",", row, written)


def in_tsv(folder: Path, row: dict[str, Any], written: Callable[[Any], str]) -> Path:
    return _in_rows(folder / "rows.tsv", "\t", row, written)


def _in_rows(path: Path, separator: str, row: dict[str, Any], written: Callable[[Any], str]) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.writer(file, delimiter=separator)
        lines.writerow(row)
        lines.writerow(["" if value is None else written(value) for value in row.values()])
    return path


def texts_of(row: dict[str, Any], written: Callable[[Any], str]) -> dict[str, Any]:
    """The row with its lists and objects as text."""
    return {name: written(value) if isinstance(value, list | dict) else value for name, value in row.items()}


def in_jsonl(folder: Path, row: dict[str, Any], written: Callable[[Any], str]) -> Path:
    (folder / "rows.jsonl").write_text(json.dumps(texts_of(row, written)))
    return folder / "rows.jsonl"


def in_parquet(folder: Path, row: dict[str, Any], written: Callable[[Any], str]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist([texts_of(row, written)]), folder / "rows.parquet")
    return folder / "rows.parquet"


def require_as_meant(example: Example, row: dict[str, Any]) -> None:
    asked = example.prompt if isinstance(example.prompt, str) else example.prompt[-1].text
    assert asked.replace("<image>", "").strip() == "What?"
    answers = [answer if isinstance(answer, str) else answer[-1].text for answer in example.responses.values()]
    assert answers == ["Yes.", "No."], row
    assert (len(example.images), problems_of_row(example)) == (1, [])


@pytest.mark.parametrize("written", [as_json, str], ids=["json", "python"])
@pytest.mark.parametrize("stored", [in_csv, in_jsonl, in_parquet])
@pytest.mark.parametrize(("reader", "row"), ROWS, ids=IDS)
def test_lists_and_objects_that_are_text_are_read_and_recognized(
    reader: str, row: dict[str, Any], stored: Any, written: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    path = stored(tmp_path, row, written)
    [example] = component("reader", reader, path=str(path), images=tmp_path).open()  # type: ignore[attr-defined]
    require_as_meant(example, row)
    found = format_of(str(path), open_table(str(path), "train"), TableReader.named())
    as_objects = in_jsonl(tmp_path, row, lambda value: value)
    expected = format_of(str(as_objects), open_table(str(as_objects), "train"), TableReader.named())
    assert found is expected


@pytest.mark.parametrize("stored", [in_csv, in_tsv, in_jsonl, in_parquet])
def test_pairs_reads_conversations_and_lists_that_are_text(stored: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    row = {"prompt": [USER], "chosen": [YES], "rejected": [NO], "img_path": ["a.png"], "boxes": [[0, 0, 2, 2]]}
    path = stored(tmp_path, row, as_json)
    options: dict[str, Any] = {"marks": "first", "boxes": {"boat": "boxes"}, "images": tmp_path}
    [example] = component("reader", "pairs", path=str(path), **options).open()  # type: ignore[attr-defined]
    require_as_meant(example, row)
    assert len(example.boxes["boat"][0]) == 1


@pytest.mark.parametrize(
    "answer", ['{"a": 1}', "[1, 2]", '["a.png"]', '[{"value": "x"}]', '{"role": "cook", "content": ""}']
)
@pytest.mark.parametrize("reader", ["trl", "pairs", "rlaif_v", "seva", "distilabel", "align_anything", "llava_rlhf"])
@pytest.mark.parametrize("stored", [in_csv, in_jsonl])
def test_an_answer_that_is_other_json_stays_text(answer: str, reader: str, stored: Any, tmp_path: Path) -> None:
    row: dict[str, Any] = {"prompt": "What?", "chosen": answer, "rejected": "[]"}
    row |= {"rejected": "[]"} if reader != "seva" else {"reject": "[]", "image_id": None}
    if reader in ("align_anything", "llava_rlhf"):
        names = ("response_1", "response_2") if reader == "align_anything" else ("output_1", "output_2")
        row = {names[0]: "[]", names[1]: answer, "overall_response": 2, "preference": 2, "conversations": [USER]}
    row |= {"question": "What?", "image": None, "img_path": None}
    row = {name: value for name, value in row.items() if reader != "distilabel" or name != "question"}
    path = stored(tmp_path, row, as_json)
    [example] = component("reader", reader, path=str(path), unread=["overall_response", "preference"]).open()  # type: ignore[attr-defined]
    assert dict(example.responses) == {"chosen": answer, "rejected": "[]"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_any_value_is_read_alike_as_text_and_as_it_is(value: Any) -> None:
    """In a column of lists and objects; elsewhere only messages are taken out of a text."""
    if isinstance(value, list | dict):
        assert meant({"a": json.dumps(value)}, ["a"]) == meant({"a": value}, ["a"])
        assert meant({"a": json.dumps(value)}) == {"a": json.dumps(value)}


@pytest.mark.parametrize("reader", ["trl", "pairs"])
def test_messages_without_commas_are_refused_not_trained_on(reader: str, tmp_path: Path) -> None:
    """As numpy writes them: `pandas` makes such texts when it saves a table of Parquet as CSV."""
    cell = "[{'role': 'user', 'content': 'What?'}\n {'role': 'assistant', 'content': 'Yes.'}]"
    row = {"prompt": "What?", "chosen": cell, "rejected": "No.", "image": None, "img_path": None}
    message = refused(tmp_path, row, reader)
    assert "row 1: chosen: looks like a list of messages, but is neither JSON nor a list of Python" in message
    assert "write it as JSON" in message


SEQUENCE = {"role": datasets.Value("string"), "content": datasets.Value("string")}


@pytest.mark.parametrize(("reader", "row"), ROWS, ids=IDS)
def test_an_object_of_lists_is_a_list_of_objects(reader: str, row: dict[str, Any], tmp_path: Path) -> None:
    def transposed(value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            names = [name for name in value[0] if all(name in each for each in value)]
            return {name: [transposed(each[name]) for each in value] for name in names}
        if isinstance(value, list):
            return [transposed(each) for each in value]
        return {name: transposed(each) for name, each in value.items()} if isinstance(value, dict) else value

    (tmp_path / "a.png").write_bytes(PICTURE)
    changed = {name: transposed(value) for name, value in row.items()}
    if reader == "openai":  # its parts have different keys
        parts = {"type": ["image_url", "text"], "image_url": [{"url": "a.png"}, None], "text": [None, "What?"]}
        changed["input"] = {"messages": {"role": ["user"], "content": [parts]}}
    require_as_meant(read(tmp_path, changed, reader), row)


def test_a_sequence_of_messages_that_datasets_saved_is_read(tmp_path: Path) -> None:
    values = {"from": datasets.List(datasets.Value("string")), "value": datasets.List(datasets.Value("string"))}
    row = {
        "image": {"bytes": PICTURE, "path": None},
        "conversations": {"from": ["human", "gpt"], "value": ["<image>What?", "Yes."]},
        "rejected_conversations": {"from": ["human", "gpt"], "value": ["<image>What?", "No."]},
    }
    features = {"image": datasets.Image(), "conversations": values, "rejected_conversations": values}
    table = datasets.Dataset.from_list([row], features=datasets.Features(features))
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "saved.parquet")
    for path in ("saved", "saved.parquet"):
        [example] = component("reader", "povid", path=str(tmp_path / path)).open()  # type: ignore[attr-defined]
        require_as_meant(example, row)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}},
        {"type": "image", "source": {"type": "url", "url": "a.png"}},
        {"type": "image", "base64": BASE64},
        {"type": "image", "data": BASE64},
        {"type": "image", "file": "a.png"},
        {"type": "image", "image": {"path": "a.png"}},
        {"type": "image_url", "image_url": {"url": "a.png", "detail": "high"}},
    ],
)
@pytest.mark.parametrize("reader", ["trl", "swift", "openai", "arena", "distilabel", "pairs"])
def test_a_part_of_a_message_may_hold_its_picture_in_many_ways(
    reader: str, part: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    asked = {"role": "user", "content": [part, {"type": "text", "text": "What?"}]}
    rows: dict[str, dict[str, Any]] = {
        "swift": {"messages": [asked, YES], "rejected_response": "No."},
        "openai": {"input": {"messages": [asked]}, "preferred_output": [YES], "non_preferred_output": [NO]},
        "arena": {"conversation_a": [asked, YES], "conversation_b": [asked, NO], "winner": "model_a"},
        "distilabel": {"messages": [asked], "generations": ["No.", "Yes."], "ratings": [1, 5]},
    }
    row = rows.get(reader, {"prompt": [asked], "chosen": [YES], "rejected": [NO], "img_path": None})
    require_as_meant(read(tmp_path, row, reader), row)


@pytest.mark.parametrize("key", ["image", "image_url", "path", "url", "file_name", "src", "file"])
@pytest.mark.parametrize("reader", ["trl", "pairs", "swift", "mmpr"])
def test_an_object_in_a_list_of_pictures_may_name_its_file_by_any_usual_key(
    reader: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    row: dict[str, Any] = {"prompt": "<image>What?", "question": "What?", "chosen": "Yes.", "rejected": "No."}
    column = {"pairs": "img_path", "trl": "images", "swift": "images", "mmpr": "image"}[reader]
    row = {"messages": [USER, YES], "rejected_response": "No."} if reader == "swift" else row
    row = row | {column: [{key: "a.png"}]}
    require_as_meant(read(tmp_path, row, reader), row)
