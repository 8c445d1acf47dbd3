"""Rows of JSON files, mutated: each is read as it is written, or refused with its file and row, and soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pairs import PROMPT

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.data.validity import problems_of_row

SECONDS = 10  # for one file, on a busy machine
ROW = {"prompt": PROMPT, "chosen": "A temple.", "rejected": "A flower.", "score": 0.5, "name": "r", "vector": [1, 0.5]}
GOOD = json.dumps(ROW).encode()
ENCODINGS = ("utf-8", "utf-8-sig", "latin-1", "cp1252", "gbk", "utf-16", "utf-16-le", "utf-32", "shift-jis")
Draw = Callable[[st.SearchStrategy[Any]], Any]

TEXTS = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=8),
    st.sampled_from(
        ["007", " 3 ", "1e3", "true", "null", "NaN", "2026-01-31", "\u200b", "\0", "\ud83d", "</s>", "<image>"]
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), TEXTS)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "from", "value", "type", "text"]), LEAVES | st.lists(LEAVES)),
    max_size=3,
)
VALUES = (
    st.recursive(LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3)) | MESSAGES
)


def mutated_row(draw: Draw) -> bytes:
    """A row with other values, keys or nesting, as JSON, of which bytes may be changed."""
    row: dict[str, Any] = dict(ROW)
    for _ in range(draw(st.integers(0, 3))):
        row[draw(st.sampled_from(list(ROW)) | TEXTS)] = draw(VALUES)
    for key in draw(st.lists(st.sampled_from(list(ROW)), max_size=1)):
        row.pop(key, None)
    text = json.dumps(draw(st.just(row) | VALUES) if draw(st.integers(0, 9)) == 0 else row)
    if draw(st.integers(0, 4)) == 0:
        key = draw(st.sampled_from(list(ROW)))
        text = text.replace("{", f'{{"{key}": {json.dumps(draw(LEAVES))}, ', 1)
    if draw(st.integers(0, 9)) == 0:
        depth = draw(st.sampled_from([10, 500, 5000, 100_000]))
        text = text.replace('"A temple."', "[" * depth + "]" * depth)
    content = bytearray(text.encode(draw(st.sampled_from(ENCODINGS)), errors="replace"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        content[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(content)


def text_of(value: str | tuple[Turn, ...]) -> list[str]:
    return [value] if isinstance(value, str) else [turn.text for turn in value]


def require_unchanged(example: Example, row: bytes) -> None:
    """Each text and number is one that Python's parser finds in the row."""
    written = json.loads(row, parse_constant=str, strict=False)
    said = example.responses["chosen"]
    if isinstance(written["chosen"], str):
        assert said == written["chosen"]
    assert example.id == str(written["name"])
    assert list(example.vectors["clip"]) == [float(number) for number in written.get("vector") or []]
    assert not any("\ud800" <= char <= "\udfff" for text in text_of(said) for char in text)


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, or the error that refuses it; every other error ends the test."""
    try:
        return read()
    except DataError as error:
        return error


def read_and_check(row: bytes, is_list: bool, folder: Path) -> None:
    file = folder / ("pairs.json" if is_list else "pairs.jsonl")
    file.write_bytes(b"[" + GOOD + b",\n" + row + b"]" if is_list else GOOD + b"\n" + row)
    options = {"image": None, "id": "name", "columns": ("score",), "vectors": {"clip": "vector"}}
    reader: Any = component("reader", "pairs", path=str(file), **options)
    began = time.monotonic()
    data = outcome(reader.open)
    if isinstance(data, DataError):
        assert str(data).startswith(str(file))
    else:
        check_rows(data, file, row)
    assert time.monotonic() - began < SECONDS


def check_rows(data: Sequence[Example], file: Path, row: bytes) -> None:
    assert isinstance(outcome(lambda: data[0]), Example)
    for number in range(1, len(data)):
        found = outcome(lambda number=number: data[number])  # type: ignore[misc]
        if isinstance(found, DataError):
            assert all(problem.where.startswith(f"{file} row {number + 1}") for problem in found.problems)
            assert len(str(found)) < 1000
        else:
            problems_of_row(found)
            if len(data) == 2:
                require_unchanged(found, row)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_row_is_read_as_written_or_named(data: st.DataObject, tmp_path: Path) -> None:
    read_and_check(mutated_row(data.draw), data.draw(st.booleans()), tmp_path)


@pytest.mark.timeout(3600)
@pytest.mark.nightly(reason="thousands of the rows of which the quick test draws some")
@settings(max_examples=5000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_thousands_of_mutated_rows_are_read_or_named(data: st.DataObject, tmp_path: Path) -> None:
    read_and_check(mutated_row(data.draw), data.draw(st.booleans()), tmp_path)
