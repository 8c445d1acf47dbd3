"""Pairs that are counted for many rows at once are those that the rows make one by one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as some
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from mdpo_readers.formats.rows import index_of
from mdpo_readers.tables.files.arrow_json import ArrowJson
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.files.line_spans import line_spans
from mdpo_readers.tables.opening import open_table
from pyarrow import parquet

from mdpo_core import component

ODD = [None, "", "1_0", "1.5", "N/A", " 2 ", "1e400", "1e308", 0, 3, 2.5, 0.1, True, [], ["a"], {}, {"Rating": "1"}]
odd = some.sampled_from(ODD)
ratings = some.sampled_from(["1", "2", "3", "5", "0.1", "1e308", None, "N/A"]) | some.integers(-3, 3)
aspects = some.fixed_dictionaries({"Rating": ratings}, optional={"Rationale": some.sampled_from(["ok", None])})
annotations = some.dictionaries(some.sampled_from(["Helpfulness", "Ethics"]), aspects | some.none())
answers = some.fixed_dictionaries({"response": some.sampled_from(["A", "B"]), "annotations": annotations})
usual = some.fixed_dictionaries({"prompt": some.just("What?"), "completions": some.lists(answers, max_size=4)})
odd_answers = some.fixed_dictionaries({"response": odd | some.just("A"), "annotations": annotations | odd})
odd_rows = some.fixed_dictionaries(
    {"prompt": odd, "completions": some.lists(odd_answers | odd, max_size=3) | odd},
    optional={"img_path": odd, "image": odd, "id": some.integers()},
)
rows = some.lists(usual, min_size=1, max_size=8) | some.lists(usual | odd_rows, min_size=1, max_size=5)
takes = some.sampled_from(["all_pairs", "best_over_worst"])
searched = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def index_and_expected(file: Path, take: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    format = component("reader", "vlfeedback", path=str(file), take=take)._format()  # type: ignore[attr-defined]
    table = open_table(str(file), "train")
    return list(index_of(format, table)), list(index_of(format._replace(count_pairs=None), table))


@searched
@given(rows, takes)
def test_rows_of_json_are_counted_at_once_as_one_by_one(tmp_path: Path, rows: list[dict[str, Any]], take: str) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, expected = index_and_expected(tmp_path / "rows.jsonl", take)
    assert found == expected


def test_usual_rows_are_not_read_one_by_one(tmp_path: Path) -> None:
    def read(row: Any) -> list[Any]:
        raise AssertionError(row)

    answers = [{"response": "A", "annotations": {"Help": {"Rating": written}}} for written in ("1", "2", "2", "N/A")]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "What?", "completions": answers}) + "\n")
    format = component("reader", "vlfeedback", path=str(tmp_path / "rows.jsonl"))._format()  # type: ignore[attr-defined]
    table = open_table(str(tmp_path / "rows.jsonl"), "train")
    assert list(index_of(format._replace(find=read), table)) == [(0, 0), (0, 1)]


def as_lists(answers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [answer[name] for answer in answers] for name in ("response", "annotations")}


@searched
@given(some.lists(usual, min_size=1, max_size=8), takes, some.booleans())
def test_rows_of_parquet_are_counted_at_once_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], take: str, lists: bool
) -> None:
    file = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    stored = [{**row, "completions": as_lists(row["completions"]) if lists else row["completions"]} for row in rows]
    try:
        table = pyarrow.Table.from_pylist(stored)
    except pyarrow.ArrowException:  # ratings of two types
        return
    try:
        parquet.write_table(table, file)
    except pyarrow.ArrowException:  # an object without keys
        return
    found, expected = index_and_expected(file, take)
    assert found == expected


PLAIN = b'{"a": "x", "b": [{"c": 1}]}'


@pytest.mark.parametrize("number", ["1e-400", "0." + "0" * 330 + "1", "9007199254740993", "1e400", "NaN"])
def test_a_number_that_arrow_would_change_is_left_to_the_parser_of_rows(number: str) -> None:
    reading = ArrowJson()
    assert reading.table([b'{"a": 0.5}', b'{"a": 0.0, "b": "page-100"}']) is not None
    assert reading.table([b'{"a": 0.5}', f'{{"a": {number}}}'.encode()]) is None


@searched
@given(some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1), some.integers(0, 40))
def test_fractions_are_read_as_python_reads_them(numbers: list[float], digits: int) -> None:
    texts = [f'{{"a": {written}}}'.encode() for number in numbers for written in (repr(number), f"{number:.{digits}e}")]
    found = ArrowJson().table([b'{"a": 0.5}', *texts])
    if found is not None:
        assert found["a"].to_pylist() == [0.5, *(json.loads(text)["a"] for text in texts)]


def test_usual_rows_are_read_by_arrow() -> None:
    reading = ArrowJson()
    found = reading.table([PLAIN, b'{"b": null}', PLAIN])
    assert found is not None
    assert found.to_pylist() == [{"a": "x", "b": [{"c": 1}]}, {"a": None, "b": None}, {"a": "x", "b": [{"c": 1}]}]


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "x", "a": "y"}',
        b'{"a": "x", "\\u0061": "y"}',
        b'{"a": "x", "b": [{"c": 1, "c": 2}]}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": "x\0"}',
        b'{"a": "x", "b": [{"c": 1e999}]}',
        b'{"a": "x", "b": [{"c": ' + b"1" * 5000 + b"}]}",
        b'{"a": "x", "d": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": "x"} {"a": "y"}',
        b'{"a": "x",}',
        b'{"a": "x"',
        b'["a"]',
        b"",
    ],
)
def test_a_row_that_is_bad_is_left_to_the_parser_of_rows(text: bytes) -> None:
    with pytest.raises(BadRow):
        values_of(text)
    reading = ArrowJson()
    assert reading.table([PLAIN]) is not None
    assert reading.table([PLAIN, text, PLAIN]) is None
    assert ArrowJson().table([text, PLAIN]) is None


values = some.recursive(
    odd | some.text(max_size=3) | some.floats(), lambda inner: some.lists(inner, max_size=2), max_leaves=4
)


@searched
@given(some.lists(some.dictionaries(some.sampled_from("abc"), values, max_size=2), min_size=1, max_size=4))
def test_arrow_reads_what_the_parser_of_rows_reads_or_nothing(rows: list[dict[str, Any]]) -> None:
    texts = [json.dumps(row).encode() for row in rows]
    found = ArrowJson().table(texts)
    if found is not None:
        assert [without_nulls(row) for row in found.to_pylist()] == [without_nulls(values_of(text)) for text in texts]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def lines_one_by_one(content: bytes) -> list[tuple[int, int, int]]:
    found, end = [], 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        start, end = end, end + len(line)
        mark = 3 if number == 1 and line.startswith(b"\xef\xbb\xbf") else 0
        text = line.rstrip()
        if len(text) > mark:
            found.append((start + mark, start + len(text), number))
    return found


@searched
@given(some.lists(some.sampled_from([b"a", b"{}", b" ", b"\r", b"\n", b"\v", b"\xef\xbb\xbf"])), some.integers(1, 9))
def test_lines_are_where_they_are_one_by_one(parts: list[bytes], size: int) -> None:
    content = b"".join(parts)
    blocks = line_spans(io.BytesIO(content), size)
    found = [span for block in blocks for span in zip(*(each.tolist() for each in block), strict=True)]
    assert found == lines_one_by_one(content)
