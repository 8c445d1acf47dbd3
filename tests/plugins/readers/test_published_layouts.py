"""Layouts of published data sets: each is named with a line that reads it, and the line gives its pair.

Written by hand with made-up content, after the columns, types and nesting that the authors describe; they were not
compared with the published files. The layouts are those of ``openbmb/RLAIF-V-Dataset``;
``HuggingFaceH4/rlaif-v_formatted`` and ``trl-lib/rlaif-v``; ``llamafactory/RLHF-V``;
``lmarena-ai/arena-human-preference-140k`` (its README lists the types); ``HuggingFaceH4/ultrafeedback_binarized``;
``argilla/ultrafeedback-binarized-preferences``; ``zhiqings/LLaVA-Human-Preference-10K``; OpenAI's preference
fine-tuning; and OpenRLHF's conversations without a prompt.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from support.pictures import SIZE, as_bytes, upright

from mdpo_core import Example, Turn, component
from mdpo_core.cli import main
from mdpo_core.data.validity import problems_of_row

PICTURE = as_bytes(upright(), "PNG")
URI = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
Q, YES, NO = "What is on the water?", "A small red boat.", "A grey whale."
EMBEDDED = {"bytes": PICTURE, "path": "boat.png"}
USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", Q), ("assistant", YES), ("assistant", NO))
)


def parts(role: str, text: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": [*more, {"type": "text", "text": text}]}]


def arena_part(kind: str, text: str | None, image: str | None = None) -> dict[str, Any]:
    return {"type": kind, "text": text, "image": image, "mimeType": "image/png" if image else None}


def arena(text: str) -> list[dict[str, Any]]:
    asked = {"role": "user", "content": [arena_part("text", Q), arena_part("image", None, URI)]}
    return [asked, {"role": "assistant", "content": [arena_part("text", text)]}]


MARKED = (Turn("user", f"<image>\n{Q}"),)
CLOSE = (Turn("user", f"<image>{Q}"),)
BARE = (Turn("user", Q),)
# The name, the row, whether it is stored in Parquet, the options of the line besides the path, and the prompt.
LAYOUTS: list[tuple[str, dict[str, Any], bool, dict[str, Any], Any]] = [
    (
        "rlaif_v",
        {
            "ds_name": "RLAIF-V",
            "image": EMBEDDED,
            "question": Q,
            "chosen": YES,
            "rejected": NO,
            "idx": 0,
            "origin_dataset": "x",
            "origin_split": "{}",
            "image_path": "own/boat.png",
        },
        True,
        {"reader": "rlaif_v"},
        MARKED,
    ),
    (
        "rlaif_v_formatted",
        {
            "images": [EMBEDDED],
            "prompt": parts("user", Q, {"type": "image", "text": None}),
            "chosen": parts("assistant", YES),
            "rejected": parts("assistant", NO),
        },
        True,
        {"reader": "trl"},
        CLOSE,
    ),
    (
        "llamafactory_rlhf_v",
        {
            "conversations": [{"from": "human", "value": f"<image>{Q}"}],
            "images": [EMBEDDED],
            "chosen": {"from": "gpt", "value": YES},
            "rejected": {"from": "gpt", "value": NO},
        },
        True,
        {"reader": "pairs", "prompt": "conversations", "image": "images"},
        CLOSE,
    ),
    (
        "arena_140k",
        {
            "id": "1",
            "model_a": "m1",
            "model_b": "m2",
            "winner": "model_b",
            "conversation_a": arena(NO),
            "conversation_b": arena(YES),
            "evaluation_order": 1,
        },
        True,
        {"reader": "arena"},
        (Turn("user", f"{Q}<image>"),),
    ),
    (
        "ultrafeedback_binarized",
        {
            "prompt": Q,
            "prompt_id": "p",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "messages": [USER, GOOD],
            "score_chosen": 8.0,
            "score_rejected": 5.0,
        },
        True,
        {"reader": "pairs", "prompt": None, "image": None},
        BARE,
    ),
    (
        "argilla_ultrafeedback",
        {
            "source": "x",
            "instruction": Q,
            "chosen_response": YES,
            "rejected_response": NO,
            "chosen_avg_rating": 5.0,
            "rejected_avg_rating": 2.0,
            "chosen_model": "m1",
        },
        False,
        {
            "reader": "pairs",
            "prompt": "instruction",
            "image": None,
            "responses": {"chosen": "chosen_response", "rejected": "rejected_response"},
        },
        Q,
    ),
    (
        "openrlhf",
        {"chosen": [USER, GOOD], "rejected": [USER, BAD], "source": "x"},
        False,
        {"reader": "pairs", "prompt": None, "image": None},
        BARE,
    ),
    (
        "llava_human_preference",
        {
            "id": "1",
            "image": URI,
            "conversations": [{"from": "human", "value": f"<image>\n{Q}"}],
            "preference": 1,
            "output_1": {"from": "llava", "value": YES},
            "output_2": {"from": "llava", "value": NO},
            "hallucination": False,
        },
        False,
        {"reader": "llava_rlhf"},
        MARKED,
    ),
    (
        "openai",
        {
            "input": {
                "messages": parts("user", Q, {"type": "image_url", "image_url": {"url": URI}}),
                "tools": [],
                "parallel_tool_calls": True,
            },
            "preferred_output": [GOOD],
            "non_preferred_output": [BAD],
        },
        False,
        {"reader": "openai"},
        CLOSE,
    ),
    (
        "other_mark",
        {"query": f"<img>\n{Q}", "img": URI, "win": YES, "lose": NO},
        False,
        {
            "reader": "pairs",
            "prompt": "query",
            "image": "img",
            "responses": {"chosen": "win", "rejected": "lose"},
            "image_mark": "<img>",
        },
        f"<image>\n{Q}",
    ),
    (
        "bare_messages",
        {"messages": [USER], "image": URI, "chosen": GOOD, "rejected": BAD},
        False,
        {"reader": "pairs", "prompt": "messages", "image": "image", "marks": "first"},
        MARKED,
    ),
]


@pytest.mark.parametrize(("name", "row", "in_parquet", "options", "prompt"), LAYOUTS, ids=[each[0] for each in LAYOUTS])
def test_the_line_for_a_published_layout_reads_its_pair(
    name: str,
    row: dict[str, Any],
    in_parquet: bool,
    options: dict[str, Any],
    prompt: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / (f"{name}.parquet" if in_parquet else f"{name}.jsonl")
    if in_parquet:
        datasets.Dataset.from_list([row]).to_parquet(file)
    else:
        file.write_text(json.dumps(row))
    assert main(["data", str(file)]) == 0
    line, *rest = capsys.readouterr().out.splitlines()
    assert not [each for each in rest if each.startswith(("  this line", "  the first pair"))]
    written = yaml.safe_load(line)["data"]
    assert written == {"path": str(file), **options}
    [example] = component("reader", written.pop("reader"), **written).open()  # type: ignore[attr-defined]
    assert isinstance(example, Example)
    assert (example.prompt, example.responses) == (prompt, {"chosen": YES, "rejected": NO})
    assert [image.size for image in example.images] == [SIZE] * example.num_marks
    assert problems_of_row(example) == []


def test_a_column_that_says_which_answer_is_better_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": Q, "answer_a": YES, "answer_b": NO, "winner": "a"}))
    assert main(["data", str(file)]) == 0
    line, problem, *_ = capsys.readouterr().out.splitlines()
    assert line.endswith("prompt: question, image: COLUMN, responses: {chosen: COLUMN, rejected: COLUMN}}")
    assert problem.endswith(
        "the column 'winner' says which answer is better: write the better answer into a column of its own"
    )


def test_pairs_names_the_line_that_reads_other_columns(tmp_path: Path) -> None:
    from mdpo_core import DataError

    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"query": Q, "win": YES, "lose": NO}))
    with pytest.raises(DataError) as caught:
        component("reader", "pairs", path=str(file)).open()  # type: ignore[attr-defined]
    line = (
        f"data: {{reader: pairs, path: {file}, prompt: query, image: null, responses: {{chosen: win, rejected: lose}}}}"
    )
    assert f"this line reads them: {line}" in str(caught.value)
