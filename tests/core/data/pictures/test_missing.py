"""Rows without a picture, which terms over a changed picture leave out: the count is told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core import load_recipe
from mdpo_core.data.reading import read_data


def rows_without(numbers: set[int], pairs: Path, folder: Path) -> str:
    """The ten pairs, of which these have no picture. Returns the change of a recipe."""
    rows = json.loads(pairs.read_text())
    for number in numbers:
        rows[number]["img_path"] = None
        rows[number]["prompt"] = rows[number]["prompt"].replace("<image>\n", "")
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return f"data.path={file}"


@pytest.mark.parametrize(
    ("numbers", "more", "told"),
    [
        ({3}, [], "1 of 10 rows has no picture: the term picture leaves it out"),
        ({0, 3}, [], "2 of 10 rows have no picture: the term picture leaves them out"),
        ({0, 3}, ["data.hold_out={rows: 3}"], "2 of 10 rows have no picture: the term picture leaves them out"),
        (set(), [], ""),
        ({3}, ["data.check=none"], ""),
    ],
)
def test_rows_that_a_term_leaves_out_are_counted(
    numbers: set[int],
    more: list[str],
    told: str,
    changes: list[str],
    pairs: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*changes, rows_without(numbers, pairs, tmp_path), *more])
    read_data(recipe)
    assert [record.message for record in caplog.records if "picture" in record.message] == [told] * bool(told)


def test_terms_that_compare_the_same_picture_leave_no_row_out(
    changes: list[str], pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    only_text = ["corruptions={}", "objective=[{loss: dpo}]", "reference=adapter_off"]
    read_data(load_recipe(LLAVA_MDPO, [*changes, rows_without({3}, pairs, tmp_path), *only_text]))
    assert not [record for record in caplog.records if "picture" in record.message]
