"""System prompts in a column of their own become a turn; tools are refused. Neither is dropped in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, Example, Turn, component

USER, YES = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Yes."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {**YES, "tool_calls": [{"function": {"name": "look"}}]}
SWIFT = {"messages": [USER, YES], "rejected_response": "No."}
RATED = {"instruction": "What?", "generations": ["Yes.", "No."], "ratings": [5, 1]}
TRL = {"prompt": [USER], "chosen": [YES], "rejected": [{**YES, "content": "No."}]}
OPENAI = {"input": {"messages": [USER]}, "preferred_output": [YES], "non_preferred_output": [{**YES, "content": "No."}]}
ASKED = (Turn("system", "Be brief."), Turn("user", "What?"))
FACTORY = {"instruction": "What?", "chosen": "Yes.", "rejected": "No."}


def rows_of(folder: Path, reader: str, *rows: dict[str, Any], **options: Any) -> list[Example]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(component("reader", reader, path=str(folder / "rows.jsonl"), **options).open())  # type: ignore[attr-defined]


def factory(folder: Path, row: dict[str, Any], columns: dict[str, str], **options: Any) -> list[Example]:
    entry = {"file_name": "rows.json", "ranking": True, "columns": columns, **options.pop("entry", {})}
    (folder / "dataset_info.json").write_text(json.dumps({"boats": entry}))
    (folder / "rows.json").write_text(json.dumps([row]))
    return list(component("reader", "llamafactory", path=str(folder), dataset="boats", **options).open())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        ("swift", {**SWIFT, "system": "Be brief."}),
        ("swift", {**SWIFT, "messages": [SYSTEM, USER, YES], "system": "Be brief."}),
        ("swift", {**SWIFT, "messages": [SYSTEM, USER, YES], "system": ""}),
        ("distilabel", {**RATED, "system_prompt": "Be brief."}),
        ("distilabel", {**RATED, "instruction": None, "messages": [SYSTEM, USER], "system_prompt": "Be brief."}),
        ("distilabel", {"prompt": "What?", "chosen": "Yes.", "rejected": "No.", "system_prompt": "Be brief."}),
        ("distilabel", {"chosen": [USER, YES], "rejected": [USER, YES], "system_prompt": "Be brief."}),
    ],
)
def test_a_system_prompt_is_the_first_turn(reader: str, row: dict[str, Any], tmp_path: Path) -> None:
    assert [example.prompt for example in rows_of(tmp_path, reader, row)] == [ASKED]


def test_a_system_prompt_stands_before_the_turn_with_the_pictures_mark(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (30, 30)).save(tmp_path / "boat.png")
    [example] = rows_of(tmp_path, "swift", {**SWIFT, "system": "Be brief.", "images": ["boat.png"]}, images=tmp_path)
    assert example.prompt == (ASKED[0], Turn("user", "<image>What?"))


@pytest.mark.parametrize(
    ("reader", "row", "message"),
    [
        (
            "swift",
            {**SWIFT, "messages": [SYSTEM, USER, YES], "system": "Be long."},
            "system: says 'Be long.', and the messages have another system turn; keep one of them",
        ),
        ("swift", {**SWIFT, "system": 5}, "system: must be text, found 5"),
        (
            "distilabel",
            {**RATED, "instruction": None, "messages": [SYSTEM, USER], "system_prompt": "Be long."},
            "system_prompt: says 'Be long.', and the messages have another system turn; keep one of them",
        ),
        (
            "distilabel",
            {**RATED, "prompt": "Who?"},
            "prompt: asks something else than 'instruction'; keep one of them",
        ),
        ("distilabel", {**RATED, "messages": [{**USER, "content": "Who?"}]}, "messages: asks something else than"),
    ],
)
def test_two_prompts_of_a_row_are_refused(reader: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"row 1: {message}"):
        rows_of(tmp_path, reader, row)


def test_the_same_question_may_stand_in_two_columns(tmp_path: Path) -> None:
    [example] = rows_of(tmp_path, "distilabel", {**RATED, "prompt": "What?", "messages": [USER]})
    assert example.prompt == (Turn("user", "What?"),)


def test_two_system_prompts_of_llamafactory_are_refused(tmp_path: Path) -> None:
    entry = {"formatting": "sharegpt", "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user"}}
    row = {"conversations": [SYSTEM, USER], "chosen": YES, "rejected": YES}
    [example] = factory(tmp_path, {**row, "chosen": {"role": "gpt", "content": "Yes."}}, {}, entry=entry)
    assert example.prompt == ASKED
    with pytest.raises(DataError, match=r"row 1: sys: says 'Be long.', and the messages have another system turn"):
        factory(tmp_path, {**row, "sys": "Be long."}, {"system": "sys"}, entry=entry)


UNTRAINED = "cannot be trained on yet; remove the row or the column"


@pytest.mark.parametrize(
    ("reader", "row", "message"),
    [
        (
            "trl",
            {**TRL, "tools": [{"name": "look"}]},
            rf"tools: holds tools, which {UNTRAINED}.*data.unread: \[tools\]",
        ),
        ("swift", {**SWIFT, "tools": '[{"name": "look"}]'}, f"tools: holds tools, which {UNTRAINED}"),
        (
            "pairs",
            {"prompt": "What?", "chosen": "Yes.", "rejected": "No.", "tools": [{"name": "look"}]},
            "tools: holds",
        ),
        ("trl", {**TRL, "chosen": [CALL]}, r"chosen\[0\].tool_calls: calls a tool, which cannot be trained on yet"),
        ("trl", {**TRL, "prompt": [USER, CALL, USER]}, r"prompt\[1\].tool_calls: calls a tool"),
        ("swift", {**SWIFT, "messages": [USER, CALL]}, r"messages\[1\].tool_calls: calls a tool"),
        ("openai", {**OPENAI, "preferred_output": [CALL]}, r"preferred_output\[0\].tool_calls: calls a tool"),
        (
            "openai",
            {**OPENAI, "preferred_output": [{**YES, "function_call": {"name": "look"}}]},
            r"preferred_output\[0\].function_call: calls a tool",
        ),
        (
            "openai",
            {**OPENAI, "input": {"messages": [USER], "tools": [{"name": "look"}]}},
            "input.tools: holds tools, which cannot be trained on yet; remove the row or the tools",
        ),
    ],
)
def test_tools_are_refused(reader: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    options = {"image": None} if reader == "pairs" else {}
    with pytest.raises(DataError, match=rf"row 1: {message}"):
        rows_of(tmp_path, reader, row, **options)


@pytest.mark.parametrize("nothing", [None, [], "", "[]", {}])
def test_no_tools_are_no_fault(nothing: Any, tmp_path: Path) -> None:
    answer = {**YES, "tool_calls": nothing, "function_call": nothing}
    assert rows_of(tmp_path, "trl", {**TRL, "chosen": [answer], "tools": nothing})
    assert rows_of(tmp_path, "openai", {**OPENAI, "input": {"messages": [USER], "tools": nothing}})
    assert factory(tmp_path, {**FACTORY, "tools": nothing}, {"tools": "tools"})


def test_a_column_of_tools_may_stay_unread(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "trl", {**TRL, "tools": [{"name": "look"}]}, unread=["tools"])
    assert factory(tmp_path, {**FACTORY, "tools": "[1]"}, {}, unread=["tools"])
    assert factory(tmp_path, {**FACTORY, "acts": "[1]"}, {"tools": "acts"}, unread=["acts"])


@pytest.mark.parametrize(("columns", "column"), [({}, "tools"), ({"tools": "tools"}, "tools"), ({"tools": "a"}, "a")])
def test_tools_of_llamafactory_are_refused(columns: dict[str, str], column: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"row 1: {column}: holds tools, which {UNTRAINED}.*data.unread: \[{column}\]"):
        factory(tmp_path, {**FACTORY, column: '[{"name": "look"}]'}, columns)


def test_a_number_of_samples_is_refused_with_the_slice_that_takes_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"boats.num_samples: is not read; remove it, and set data.split: train\[:7\]"):
        factory(tmp_path, FACTORY, {}, entry={"num_samples": 7})


@pytest.mark.parametrize("tag", ["<ref-object>", "<bbox>"])
@pytest.mark.parametrize("place", ["messages", "answer", "rejected_response", "rejected_messages"])
def test_tags_of_objects_are_refused(tag: str, place: str, tmp_path: Path) -> None:
    text = f"a {tag}"
    rows = {
        "messages": {**SWIFT, "messages": [{**USER, "content": text}, YES]},
        "answer": {**SWIFT, "messages": [USER, {**YES, "content": text}]},
        "rejected_response": {**SWIFT, "rejected_response": text},
        "rejected_messages": {"messages": [USER, YES], "rejected_messages": [USER, {**YES, "content": text}]},
    }
    column = "messages" if place == "answer" else place
    row = {**rows[place], "objects": {"ref": ["dog"], "bbox": [[1, 2, 3, 4]]}}
    with pytest.raises(DataError, match=rf"row 1: {column}: contains {tag}.*write the names and the boxes into the"):
        rows_of(tmp_path, "swift", row)
    assert rows_of(tmp_path, "swift", {**SWIFT, "objects": row["objects"]})
