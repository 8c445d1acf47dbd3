"""Places and sentences of problems: each row is named once, and each problem is one line."""

from __future__ import annotations

import pytest

from mdpo_core import Problem


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("a.jsonl row 7", "a.jsonl row 7"),
        ("a.jsonl:9", "a.jsonl:9"),  # the line of the row
        ("", "a.jsonl row 7"),
        ("example 'x/7'", "a.jsonl row 7, example 'x/7'"),
        ("b.jsonl:9", "a.jsonl row 7, b.jsonl:9"),
        ("a.jsonl row 70", "a.jsonl row 7, a.jsonl row 70"),
        ("a.jsonl row 7, example 'x'", "a.jsonl row 7, example 'x'"),
    ],
)
@pytest.mark.parametrize("source", ["", "boats: ", "all: boats: "])
def test_a_problem_names_its_row_once(where: str, found: str, source: str) -> None:
    is_place = where.startswith("a.jsonl") and where != "a.jsonl row 70"
    problem = Problem(f"{source}{where}" if is_place else where, "", "is bad").at(f"{source}a.jsonl row 7")
    assert problem.where == f"{source}{found}"


def test_the_same_place_is_not_another_row_that_begins_alike() -> None:
    assert Problem("row 12", "", "is bad").at("row 1").where == "row 1, row 12"
