"""The reasons of bad rows on the page of `mdpo preview`: each with its column, and each row once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdpo_core import Problem, component
from mdpo_core.cli.preview.contents import reasons_of
from mdpo_core.cli.preview.row_view import short_place
from mdpo_core.data.checking import CheckedData
from mdpo_core.data.reading import open_data


def test_a_reason_has_its_column_and_counts_rows_by_it(tmp_path: Path) -> None:
    rows = [{"prompt": "?", "chosen": 3, "rejected": "x"}, {"prompt": "?", "chosen": "x", "rejected": 4}] * 2
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"reader": "pairs", "path": str(tmp_path / "rows.jsonl"), "image": None}
    data = open_data(component("reader", "mixture", sources={"b": source}))  # type: ignore[arg-type]
    checked = CheckedData(data)
    for number in range(4):
        try:
            data[number]
        except Exception as error:
            checked.bad[number] = [each.at(checked.place(number)) for each in error.problems]  # type: ignore[attr-defined]
    reasons = reasons_of(checked)
    assert [each.example for each in reasons] == ["chosen: must be text, found 3", "rejected: must be text, found 4"]
    assert [list(map(short_place, each.places)) for each in reasons] == [
        ["b: rows.jsonl row 1", "b: rows.jsonl row 3"],
        ["b: rows.jsonl row 2", "b: rows.jsonl row 4"],
    ]


def test_a_row_counts_once_for_a_reason() -> None:
    problems = [Problem("row 1", "", "the picture 'a' is gone"), Problem("row 1", "", "the picture 'b' is gone")]
    [reason] = reasons_of(CheckedData([], bad={0: problems}))
    assert (reason.num_rows, reason.places) == (1, ["row 1"])


@pytest.mark.parametrize(
    ("place", "short"),
    [
        ("/a b/c/rows.jsonl row 3", "rows.jsonl row 3"),
        ("esc: /a b/c/rows.jsonl row 3", "esc: rows.jsonl row 3"),
        ("all: esc: sub/rows.jsonl:3", "all: esc: rows.jsonl:3"),
        ("esc: esc.jsonl row 6, example 'esc/6'", "esc: esc.jsonl row 6, example 'esc/6'"),
        ("example 'esc/6'", "example 'esc/6'"),
        ("row 6, example 'a/b/6'", "row 6, example 'a/b/6'"),
        ("data/rows.jsonl", "rows.jsonl"),
        ("a/x.tar row 2, x/y.png", "x.tar row 2, x/y.png"),
    ],
)
def test_a_short_place_has_no_folders_and_the_whole_id(place: str, short: str) -> None:
    assert short_place(place) == short
