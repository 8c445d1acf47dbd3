"""Formats with several answers to a question, and their published variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mdpo_readers import TableReader
from mdpo_readers.formats.recognition import format_of
from mdpo_readers.tables.opening import open_table
from support.paths import DATA

from mdpo_core import DataError, Example, Turn, component

FORMATS = DATA / "formats"


def read(file: Path, reader: str, **options: Any) -> list[Example]:
    return list(component("reader", reader, path=str(file), images=file.parent, **options).open())  # type: ignore[attr-defined]


def rows_of(folder: Path, reader: str, *rows: dict[str, Any]) -> list[Example]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(folder / "rows.jsonl", reader)


def test_the_questions_of_ha_dpo_have_one_answer_each() -> None:
    [row] = read(FORMATS / "ha_dpo" / "pope_data.json", "ha_dpo")
    assert row.prompt == (Turn("user", "<image>\nIs there a dog?"),)
    assert row.responses == {"chosen": "No, there are two cats.", "rejected": "Yes, there is a dog."}
    assert row.images[0].size == (20, 20)


def test_the_binarized_form_of_distilabel_is_whole_conversations() -> None:
    [row] = read(FORMATS / "distilabel" / "binarized.jsonl", "distilabel")
    assert row.prompt == (Turn("user", "<image>\nWhat is on the water?"),)
    assert row.responses == {"chosen": "A small red boat.", "rejected": "A grey whale."}
    assert row.columns == {"chosen_score": 5.0, "rejected_score": 1.0}


@pytest.mark.parametrize(
    ("file", "reader"),
    [
        ("ha_dpo/pope_data.json", "ha_dpo"),
        ("seva/textvqa_dpo_8k.json", "seva"),
        ("distilabel/binarized.jsonl", "distilabel"),
        ("vlfeedback/vlfeedback.jsonl", "vlfeedback"),
        ("llava_hound/sft_dpo.jsonl", "hound"),
    ],
)
def test_formats_with_the_same_columns_are_told_apart(file: str, reader: str) -> None:
    path = str(FORMATS / file)
    found = format_of(path, open_table(path, "train"), TableReader.named())
    assert found is not None
    assert found.component_name() == reader


def test_ranks_are_columns_for_terms() -> None:
    rows = read(FORMATS / "mm_rlhf" / "dpo_pairs.jsonl", "mm_rlhf", frames=2)
    assert [row.columns for row in rows] == [
        {"chosen_rank": 1.0, "rejected_rank": 3.0},
        {"chosen_rank": 1.0, "rejected_rank": 2.0},
    ]
    assert [image.size for image in rows[1].images] == [(30, 10), (30, 13)]


BPO = {
    "image": None,
    "question": "What?",
    "completions": [{"response": "A", "score": 1}, {"response": "B", "score": 0}],
}
HA_DPO = {"image_id": 7, "chosen": ["A"], "rejected": ["B"]}
MM_RLHF = {"image": None, "question": "What?", "chosen": "A", "rejected": "B"}
RATED = {"instruction": "What?", "generations": ["A", "B"], "ratings": [2, 1]}


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        ("bpo", BPO),
        ("bpo", {**BPO, "question": None, "prompt": "What?"}),
        ("mm_rlhf", MM_RLHF),
        ("distilabel", RATED),
        ("distilabel", {**RATED, "instruction": None, "messages": [{"role": "user", "content": "What?"}]}),
        ("distilabel", {"prompt": "What?", "chosen": "A", "rejected": "B"}),
    ],
)
def test_variants_make_the_same_pair(reader: str, row: dict[str, Any], tmp_path: Path) -> None:
    [example] = rows_of(tmp_path, reader, row)
    assert example.prompt == (Turn("user", "What?"),)
    assert example.responses == {"chosen": "A", "rejected": "B"}


@pytest.mark.parametrize("written", ["1_0", "\u0661", "nan", "infinity", "1e999", ""])
def test_all_formats_refuse_a_text_that_is_no_number(written: str, tmp_path: Path) -> None:
    rows = {
        "bpo": {**BPO, "completions": [{"response": "A", "score": written}]},
        "distilabel": {**RATED, "ratings": [written, 1]},
        "mm_rlhf": {**MM_RLHF, "chosen_score": written},
    }
    for reader, row in rows.items():
        with pytest.raises(DataError, match="must be a finite number, found"):
            rows_of(tmp_path, reader, row)


@pytest.mark.parametrize(
    ("reader", "row", "message"),
    [
        ("bpo", {**BPO, "completions": "A"}, "completions: must be a list, each an answer: {response, score}, found"),
        ("bpo", {**BPO, "completions": [{"response": "A", "score": "x"}]}, r"completions\[0\].score: must be a finite"),
        ("bpo", {**BPO, "question": None}, "question: must be text, found None"),
        (
            "ha_dpo",
            {**HA_DPO, "rejected": []},
            "rejected: has 0 answers, and 'chosen' has 1; they are compared in order",
        ),
        ("ha_dpo", HA_DPO, "image_id: '.*7.jpg' does not exist"),
        ("ha_dpo", {**HA_DPO, "image_id": None}, "image_id: must be text or a whole number"),
        ("mm_rlhf", {**MM_RLHF, "video": "v", "image": "a.png"}, "image: is filled, and so is 'video'"),
        ("distilabel", {**RATED, "ratings": [1]}, "ratings: has 1 ratings, and 'generations' has 2 answers"),
        ("distilabel", {"instruction": "What?"}, "generations: must be a list, each an answer, found None"),
    ],
)
def test_a_fault_is_named_with_row_and_column(reader: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"row 1: {message}"):
        rows_of(tmp_path, reader, row)
