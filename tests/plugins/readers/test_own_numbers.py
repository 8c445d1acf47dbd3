"""Rows whose own numbers contradict the order of their answers are bad, in every format that has such numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdpo_core import DataError, Example, component

PAIR = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}
# The reader, more columns of its row, and the columns with numbers, of which the first one must be the larger.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("distilabel", {}, "chosen_rating", "rejected_rating"),
    ("mm_rlhf", {"image": None}, "chosen_score", "rejected_score"),
    ("hound", {"video": "walk"}, "chosen_score", "rejected_score"),
]


def read(folder: Path, reader: str, row: dict[str, Any]) -> Example:
    (folder / "walk").mkdir(exist_ok=True)
    Image.new("RGB", (30, 10)).save(folder / "walk" / "1.png")
    (folder / "rows.jsonl").write_text(json.dumps(row))
    [example] = component("reader", reader, path=str(folder / "rows.jsonl"), images=folder).open()  # type: ignore[attr-defined]
    return example  # type: ignore[no-any-return]


@pytest.mark.parametrize(("reader", "more", "chosen", "rejected"), CASES, ids=[case[0] for case in CASES])
def test_the_chosen_answer_has_the_higher_number(
    reader: str, more: dict[str, Any], chosen: str, rejected: str, tmp_path: Path
) -> None:
    row = PAIR | more
    with pytest.raises(DataError, match=rf"{chosen}: is 2, worse than '{rejected}' \(5\); .*swap the answers"):
        read(tmp_path, reader, {**row, chosen: 2, rejected: 5})
    with pytest.raises(DataError, match=rf"{chosen}: is 5, as is '{rejected}' \(5\); no answer is better: remove"):
        read(tmp_path, reader, {**row, chosen: 5, rejected: "5"})
    assert read(tmp_path, reader, {**row, chosen: 5, rejected: 2}).columns
    assert read(tmp_path, reader, {**row, chosen: 5, rejected: None}).responses == {"chosen": "Yes.", "rejected": "No."}
