"""Each named format with several pairs a row counts them at once as `pairs` makes them, bad rows as one."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis.strategies as some
import numpy
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from mdpo_readers.formats.counting import UNKNOWN, WrittenColumns
from mdpo_readers.formats.pair import Row
from mdpo_readers.formats.rows import Format, index_of
from mdpo_readers.formats.sound import are_questions
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.formats.written import meant
from mdpo_readers.tables.opening import open_table

from mdpo_core import DataError, component

PICTURE = "data:image/png;base64," + "A" * 44
ASKED = [{"role": "user", "content": "What?"}]
NUMPY = "[{'role': 'user', 'content': 'What?'}\n {'role': 'assistant', 'content': 'A'}]"
SAYS_BAD = ("", " ", "\u3000", "\x1f", "\ufeff", PICTURE, f"Look: {PICTURE}", NUMPY, NUMPY + " ", "{", "[1]", "\u00a0[")
SAYS_LISTS = (
    json.dumps(ASKED),
    json.dumps(ASKED[0]),
    repr(ASKED),
    '["A", "B"]',
    "[]",
    "{}",
    '{"from": "gpt", "value": ""}',
)
NUMBERS = (0, 1, 2, 0.0, 1.0, -0.0, 2.5, 0.1, 2**53 + 1, 1e300, True, False, float("nan"), float("inf"))
WRITTEN = ("0", "0.0", "1", "1.0", "2", "1_0", "1e400", "N/A", "tie", "model_a")
LISTS = ([], ["A"], ["A", None], [0.5], ASKED, [ASKED], [[]], [{}], [None])
OBJECTS = ({}, {"question": "What?", "answer": "A"}, {"role": ["user"], "content": ["What?"]}, {"Rating": "1"})
odd = some.sampled_from((None, *SAYS_BAD, *SAYS_LISTS, *NUMBERS, *WRITTEN, *LISTS, *OBJECTS))

question = some.sampled_from(["What?", "[What] is it?", "Why {so}?"])
answer = some.sampled_from(["A", "B", "A [b].", "See {c}"])
Rows = some.SearchStrategy[dict[str, Any]]


def chat(role: str, content: str, people: tuple[str, str]) -> some.SearchStrategy[list[dict[str, Any]]]:
    said = [some.fixed_dictionaries({role: some.just(person), content: question | answer}) for person in people]
    return some.sampled_from([1, 2, 2, 2, 3, 4]).flatmap(lambda count: some.tuples(*(said * 2)[:count]).map(list))


human = chat("from", "value", ("human", "gpt"))
user = chat("role", "content", ("user", "Assistant"))
battles = user | some.just(ASKED)
nested = battles.map(lambda messages: [[each] for each in messages])


def arena_rows(conversations: some.SearchStrategy[Any]) -> Rows:
    winner = some.sampled_from(["model_a", "model_b", "tie", "both_bad", "tie (bothbad)", "model_c"])
    return some.fixed_dictionaries({"conversation_a": conversations, "conversation_b": conversations, "winner": winner})


def lists_of(one: some.SearchStrategy[Any], size: int = 3) -> some.SearchStrategy[list[Any]]:
    return some.lists(one, max_size=size)


voted = some.sampled_from(["response_1", "response_2"])
states = some.sampled_from(["submitted", "draft", None])
scored = some.fixed_dictionaries({"response": answer, "score": some.sampled_from([0.0, 0.5, 1.0])})
scored_as_text = some.fixed_dictionaries({"response": answer, "score": some.sampled_from(["0", "0.5", "N/A"])})
said = some.fixed_dictionaries({"question": some.sampled_from(["What?", "Why?", None]), "answer": answer})
rating = some.fixed_dictionaries({"Rating": some.sampled_from(["1", "2", "N/A"])})
rated = some.fixed_dictionaries({"response": answer, "annotations": some.fixed_dictionaries({"Help": rating})})
ha_dpo = {"image_id": some.integers(1, 9) | some.just("boat"), "chosen": lists_of(answer) | answer}
ROWS: dict[str, Rows] = {
    "align_anything": some.fixed_dictionaries(
        {"question": question, "response_1": answer, "response_2": answer, "overall_response": some.integers(0, 3)}
    ),
    "arena": arena_rows(battles) | arena_rows(nested),
    "argilla": some.fixed_dictionaries(
        {"prompt": question, "response_1": answer, "response_2": answer, "preference.responses": lists_of(voted)},
        optional={"preference.responses.status": lists_of(states) | some.none()},
    ),
    "bpo": some.fixed_dictionaries(
        {"image": some.just("a.png"), "completions": lists_of(scored) | lists_of(scored_as_text)},
        optional={"conversations": human, "prompt": question, "question": some.none()},
    ),
    "distilabel": some.fixed_dictionaries(
        {"generations": lists_of(answer | some.none()), "ratings": lists_of(some.sampled_from([1.0, 1.0, 2.0, None]))},
        optional={
            "instruction": question,
            "messages": user,
            "chosen": some.none() | answer,
            "image": some.just("a.png"),
        },
    ),
    "ha_dpo": some.fixed_dictionaries(
        ha_dpo, optional={"rejected": lists_of(answer) | answer, "reject": lists_of(answer), "question": question}
    )
    | some.fixed_dictionaries({"image_id": some.integers(), "chosen": lists_of(said), "rejected": lists_of(said)}),
    "vlfeedback": some.fixed_dictionaries({"prompt": question, "completions": lists_of(rated, 4)}),
}
READERS = sorted(ROWS)
searched = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place of a value: what it is in, and its key or number there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], list | dict):
            yield from places(value[key])


@some.composite
def changed(draw: some.DrawFn, usual: Rows) -> dict[str, Any]:
    """A usual row, often with an odd value somewhere, or with JSON in the place of a list or an object."""
    row = copy.deepcopy(draw(usual))
    how = draw(some.sampled_from(["not", "not", "odd", "written", "none"]))
    inside, key = draw(some.sampled_from([*places(row)]))
    if how == "odd":
        inside[key] = draw(odd)
    elif how == "written":
        row.update({name: json.dumps(value) for name, value in row.items() if isinstance(value, list)})
    elif how == "none":
        inside[key] = None
    return row


def format_of(reader: str) -> Format:
    made: TableReader = component("reader", reader, path="rows.jsonl")  # type: ignore[assignment]
    return made._format()


def num_pairs(format: Format, values: Callable[[], Mapping[str, Any]]) -> int:
    """The oracle: a row's pairs, made one by one."""
    try:
        return len(list(format.find(Row("", meant(values(), format.nested)))))
    except DataError:
        return 1


@pytest.mark.parametrize("reader", READERS)
@searched
@given(data=some.data())
def test_rows_of_arrow_are_counted_as_pairs_are_made(reader: str, data: some.DataObject) -> None:
    rows, format = data.draw(some.lists(changed(ROWS[reader]), min_size=1, max_size=4)), format_of(reader)
    try:
        stored = pyarrow.Table.from_pylist(rows)
    except (pyarrow.ArrowException, OverflowError):  # values of two types
        return
    assert format.count_pairs is not None
    found = format.count_pairs(stored).tolist()
    expected = [num_pairs(format, lambda row=row: row) for row in stored.to_pylist()]
    assert [count if count != UNKNOWN else right for count, right in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("reader", READERS)
@searched
@given(data=some.data())
def test_rows_of_json_are_counted_as_pairs_are_made(reader: str, data: some.DataObject, tmp_path: Path) -> None:
    rows, format = data.draw(some.lists(changed(ROWS[reader]), min_size=1, max_size=4)), format_of(reader)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = open_table(str(tmp_path / "rows.jsonl"), "train")
    counts = numpy.bincount([row for row, _ in index_of(format, table)], minlength=len(table)).tolist()
    assert counts == [num_pairs(format, lambda number=number: table.row(number)) for number in range(len(table))]


def csv_cell(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else "" if value is None else str(value)


@pytest.mark.parametrize("reader", READERS)
@searched
@given(data=some.data())
def test_rows_of_csv_are_counted_as_pairs_are_made(reader: str, data: some.DataObject, tmp_path: Path) -> None:
    rows, format = data.draw(some.lists(changed(ROWS[reader]), min_size=1, max_size=4)), format_of(reader)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *([csv_cell(row.get(column)) for column in columns] for row in rows)])
    table = open_table(str(tmp_path / "rows.csv"), "train")
    counts = numpy.bincount([row for row, _ in index_of(format, table)], minlength=len(table)).tolist()
    assert counts == [num_pairs(format, lambda number=number: table.row(number)) for number in range(len(table))]


@pytest.mark.parametrize(
    "text", ['[1], "y": [2]', '{"a": 1}, "y": 2', "[1", "[1]]", "['a']", "[1e400]", '[{"a": 1, "a": 2}]', '["\\ud800"]']
)
def test_a_text_that_is_no_json_is_not_read_as_a_list(text: str) -> None:
    reading = WrittenColumns(["x"])
    for texts in (["[1]", text], ["[1]", text], ["[1]", "[2]", None]):
        found = reading.read(pyarrow.table({"x": texts}))["x"].to_pylist()
        assert found in (texts, [[1], [2], None])
        assert found == texts or text not in texts


def test_questions_are_filled_where_python_finds_more_than_space() -> None:
    texts = [chr(code) for code in range(0x3100)]
    assert are_questions(pyarrow.array(texts)).tolist() == [each not in "[{" and bool(each.strip()) for each in texts]


USUAL: dict[str, tuple[dict[str, Any], int]] = {
    "align_anything": ({"question": "What?", "response_1": "A", "response_2": "B", "overall_response": 0}, 0),
    "arena": (
        {
            "conversation_a": [[{"role": "user", "content": "What?"}], [{"role": "assistant", "content": "A"}]] * 2,
            "conversation_b": [[{"role": "user", "content": "What?"}], [{"role": "assistant", "content": "B"}]] * 2,
            "winner": "model_a",
        },
        0,
    ),
    "argilla": ({"prompt": "What?", "response_1": "A", "response_2": "B", "preference.responses": []}, 0),
    "bpo": (
        {
            "image": "a.png",
            "conversations": [{"from": "human", "value": "What?"}],
            "completions": [{"response": each, "score": score} for each, score in (("A", 1.0), ("B", 0.0), ("C", 0.5))],
        },
        3,
    ),
    "distilabel": ({"instruction": "What?", "generations": ["A", "B", None], "ratings": [1.0, 1.0, 2.5]}, 0),
    "ha_dpo": ({"image_id": 1, "chosen": ["A", "B"], "rejected": ["C", "D"]}, 2),
    "vlfeedback": (
        {
            "prompt": "What?",
            "completions": [{"response": "A", "annotations": {"Help": {"Rating": each}}} for each in ("1", "2")],
        },
        1,
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_usual_rows_are_not_read_one_by_one(reader: str, tmp_path: Path) -> None:
    def read(row: Row) -> list[Any]:
        raise AssertionError(row)

    row, count = USUAL[reader]
    format = format_of(reader)
    assert num_pairs(format, lambda: row) == count
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 2)
    table = open_table(str(tmp_path / "rows.jsonl"), "train")
    expected = [(row, number) for row in range(2) for number in range(count)]
    assert list(index_of(format._replace(find=read), table)) == expected
    assert format.count_pairs is not None
    assert format.count_pairs(pyarrow.Table.from_pylist([row, row])).tolist() == [count, count]
