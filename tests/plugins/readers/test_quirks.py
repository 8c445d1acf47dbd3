"""One row for each trouble of other people's data: read as it is written, refused, or mended if the recipe says so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.paths import DATA

from mdpo_core import DataError, component
from mdpo_core.data.validity import problems_of_row

FOLDER = DATA / "formats" / "quirks"
KINDS = [json.loads(line)["kind"] for line in (FOLDER / "quirks.jsonl").read_text().splitlines()]
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def problem(kind: str, **options: Any) -> str:
    """What is wrong with the row of this kind; empty if nothing is."""
    file = str(FOLDER / "quirks.jsonl")
    rows = component("reader", "pairs", path=file, images=FOLDER, image="image", **options).open()  # type: ignore[attr-defined]
    try:
        return "; ".join(problems_of_row(rows[KINDS.index(kind)]))
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", EXPECTED["sound_as_written"])
def test_a_sound_row_is_read_as_it_is_written(kind: str) -> None:
    assert problem(kind) == ""


@pytest.mark.parametrize("kind", EXPECTED["bad"])
def test_a_bad_row_is_refused(kind: str) -> None:
    assert problem(kind)


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("other_case", "images/Upper.PNG"),
        ("leading_slash", "images/boat.png"),
        ("windows_path", "images/boat.png"),
        ("doubled_folder", "images/boat.png"),
    ],
)
def test_a_path_of_another_system_is_refused_with_the_file_that_it_means(kind: str, meant: str) -> None:
    found = problem(kind)
    assert f"quirks.jsonl row {KINDS.index(kind) + 1}: image: " in found
    assert f"did you mean '{meant}'?" in found


def test_missing_marks_are_set_if_the_recipe_says_so() -> None:
    assert "mark" in problem("no_mark")
    assert problem("no_mark", marks="first") == ""
    assert problem("two_marks", marks="first")  # never where some are there
