"""Remedies that fit the reader: each names only what this reader has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, Example, component

USER, YES = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Yes."}
PAIR = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}


def rows_of(folder: Path, reader: str, *rows: dict[str, Any], **options: Any) -> list[Example]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(component("reader", reader, path=str(folder / "rows.jsonl"), **options).open())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reader", "row", "message"),
    [
        ("trl", {"chosen": "What? Yes.", "rejected": "What? No."}, "chosen: is text, and .*add a column 'prompt'"),
        ("mm_rlhf", {**PAIR, "question": "Who?"}, "question: is filled, and so is 'prompt'; keep one of them"),
        ("mm_rlhf", {**PAIR, "chosen_rank": 3, "rejected_rank": 1}, "chosen_rank: is 3, worse than"),
        ("mm_rlhf", {**PAIR, "chosen_rank": 1, "rejected_rank": 1}, "chosen_rank: is 1, as is"),
    ],
)
def test_a_remedy_fits_the_reader(reader: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"row 1: {message}"):
        rows_of(tmp_path, reader, row)


def test_a_folder_of_pictures_that_is_a_file_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "boat.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"boat\.png' is a file, not a folder"):
        rows_of(tmp_path, "trl", PAIR, images=tmp_path / "boat.png")


def test_ranks_may_be_text(tmp_path: Path) -> None:
    [example] = rows_of(tmp_path, "mm_rlhf", {**PAIR, "chosen_rank": "1.0", "rejected_rank": "2"})
    assert example.columns == {"chosen_rank": 1.0, "rejected_rank": 2.0}
    rated = {"image": None, "prompt": "What?"}
    answers = [{"response": "Yes.", "score": "5"}, {"response": "No.", "score": 1}]
    assert rows_of(tmp_path, "bpo", {**rated, "completions": answers})
    assert rows_of(tmp_path, "distilabel", {**rated, "generations": ["Yes.", "No."], "ratings": ["5", 1]})


@pytest.mark.parametrize("reader", ["trl", "mm_rlhf", "pairs", "distilabel"])
@pytest.mark.parametrize("answer", ["chosen", "rejected"])
def test_no_answer_shows_a_video(reader: str, answer: str, tmp_path: Path) -> None:
    options = {"image": None} if reader == "pairs" else {}
    with pytest.raises(DataError, match=r"row 1: prompt: an answer contains <video>; only a prompt may show a video"):
        rows_of(tmp_path, reader, {**PAIR, answer: "a <video>"}, **options)
