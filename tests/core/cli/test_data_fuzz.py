"""`mdpo data` answers every file with a line or with a sentence, and never with a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core.cli import main

COLUMNS = (
    *(
        "prompt",
        "question",
        "instruction",
        "messages",
        "conversations",
        "chosen",
        "rejected",
        "reject",
        "image",
        "images",
    ),
    *("image_id", "video", "completions", "winner", "conversation_a", "conversation_b", "response_1", "response_2"),
    *("overall_response", "preference.responses", "generations", "ratings", "input", "preferred_output", "system"),
    *("non_preferred_output", "output_1", "output_2", "preference", "rejected_response", "rejected_images", "text"),
    *("ds_name", "history", "tools", "chosen_rating", "rejected_rating", "thumbnail", "data", "annotation"),
)
KEYS = ("role", "content", "from", "value", "type", "text", "image", "image_url", "bytes", "path", "url", "response")
TEXTS = st.sampled_from(["user", "assistant", "human", "image", "text", "a.png", "<image> What?", "model_a", "", "tie"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | TEXTS | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6), max_size=3)


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(content=ROWS | VALUES, lines=st.booleans())
@example(content=[{"prompt": None, "completions": [None], "image": None}], lines=False)
def test_every_json_file_is_answered(content: Any, lines: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("rows") / ("rows.jsonl" if lines else "rows.json")
    rows = content if lines and isinstance(content, list) else [content]
    file.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(content))
    assert main(["data", str(file)]) in (0, 2)


@settings(max_examples=num_examples(20, 40), deadline=None)
@given(
    entries=st.dictionaries(
        st.sampled_from(["a", "b"]),
        VALUES
        | st.fixed_dictionaries(
            {
                "ranking": st.just(True),
                "file_name": st.sampled_from(["rows.json", "gone.json", ".", "../rows.json", "\0", ""]),
            },
            optional={"formatting": st.sampled_from(["alpaca", "sharegpt", 3]), "columns": VALUES, "tags": VALUES},
        ),
        max_size=2,
    ),
    rows=ROWS,
)
def test_every_dataset_info_is_answered(entries: Any, rows: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("sets")
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    (folder / "rows.json").write_text(json.dumps(rows))
    assert main(["data", str(folder)]) in (0, 2)


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(
    content=st.binary(max_size=60) | st.text(max_size=30).map(str.encode),
    kind=st.sampled_from([".json", ".jsonl", ".csv", ".tsv", ".parquet", ".tar", ".jsonl.gz", ".jsonl.zst"]),
)
def test_every_file_of_bytes_is_answered(content: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("bytes") / f"rows{kind}"
    file.write_bytes(content)
    assert main(["data", str(file)]) in (0, 2)
