"""Rows that contradict themselves: other pictures in messages than in a column, questions that differ, wrong orders."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from mdpo_readers import TableReader
from support.one_row import PICTURE, read, refused
from support.pictures import as_bytes, upright
from support.reader_rows import NO, ROWS, USER, YES

from mdpo_core import DataError, Turn, component
from mdpo_core.data.validity import problems_of_row

A, B = "a.png", "b.png"
TEXT = {"type": "text", "text": "What?"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / A).write_bytes(PICTURE)
    (folder / B).write_bytes(as_bytes(upright().rotate(90, expand=True), "PNG"))
    (folder / "walk").mkdir()
    (folder / "walk" / "0.png").write_bytes(PICTURE)
    return folder


def image(file: str | None) -> dict[str, Any]:
    return {"type": "image"} if file is None else {"type": "image", "image": file}


def user(*files: str | None) -> dict[str, Any]:
    return {"role": "user", "content": [*map(image, files), TEXT]}


def from_human(*files: str | None) -> dict[str, Any]:
    return {"from": "human", "value": [*map(image, files), TEXT]}


GPT, WRONG = {"from": "gpt", "value": "Yes."}, {"from": "gpt", "value": "No."}


def rows_with_parts(*files: str | None) -> dict[str, tuple[dict[str, Any], str]]:
    """A row whose question has these parts, by reader, and the column with pictures."""
    asked, said = user(*files), from_human(*files)
    return {
        "trl": ({"prompt": [asked], "chosen": [YES], "rejected": [NO]}, "images"),
        "pairs": ({"prompt": [asked], "chosen": [YES], "rejected": [NO]}, "img_path"),
        "swift": ({"messages": [asked, YES], "rejected_response": "No."}, "images"),
        "arena": ({"conversation_a": [asked, YES], "conversation_b": [asked, NO], "winner": "model_a"}, "images"),
        "distilabel": ({"messages": [asked], "generations": ["No.", "Yes."], "ratings": [1, 5]}, "image"),
        "povid": ({"conversations": [said, GPT], "rejected_conversations": [said, WRONG]}, "image"),
        "bpo": (
            {
                "conversations": [said],
                "completions": [{"response": "Yes.", "score": 2}, {"response": "No.", "score": 1}],
            },
            "image",
        ),
        "llava_rlhf": ({"conversations": [said], "output_1": "No.", "output_2": "Yes.", "preference": 2}, "image"),
    }


WITH_PARTS = sorted(rows_with_parts())


@pytest.mark.parametrize("reader", WITH_PARTS)
def test_a_picture_in_a_message_is_not_dropped_for_one_in_a_column(reader: str, folder: Path) -> None:
    row, column = rows_with_parts(B)[reader]
    message = refused(folder, row | {column: A}, reader)
    assert f"has a part that shows 'b.png', and '{column}' shows 'a.png'; keep one of them" in message
    assert "rows.jsonl row 1: " in message
    assert "or empty the column" in message


@pytest.mark.parametrize("reader", WITH_PARTS)
def test_the_same_picture_may_stand_in_both(reader: str, folder: Path) -> None:
    row, column = rows_with_parts(A)[reader]
    uri = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
    for value in (A, f"./{A}", {"path": A, "bytes": uri}, [A]):
        example = read(folder, row | {column: value}, reader)
        assert (len(example.images), problems_of_row(example)) == (1, [])
    row, column = rows_with_parts(uri)[reader]
    assert len(read(folder, row | {column: uri.partition(",")[2]}, reader).images) == 1


@pytest.mark.parametrize("reader", WITH_PARTS)
def test_a_part_without_a_picture_stands_for_one_of_the_column(reader: str, folder: Path) -> None:
    row, column = rows_with_parts(None, B)[reader]
    example = read(folder, row | {column: [A, B]}, reader)
    assert [each.size for each in example.images] == [upright().size, upright().size[::-1]]
    assert "and 'a.png' shows" not in refused(folder, row | {column: [B, A]}, reader)
    assert "has a part that shows 'b.png'" in refused(folder, row | {column: A}, reader)


@pytest.mark.parametrize("reader", WITH_PARTS)
def test_a_part_alone_gives_its_picture(reader: str, folder: Path) -> None:
    row, column = rows_with_parts(B)[reader]
    example = read(folder, row | {column: None}, reader)
    assert ([each.size for each in example.images], problems_of_row(example)) == ([upright().size[::-1]], [])


@pytest.mark.parametrize(
    ("reader", "row", "column"),
    [
        ("trl", {"chosen": [user(A), YES], "rejected": [user(B), NO]}, "rejected"),
        ("swift", {"messages": [user(A), YES], "rejected_messages": [user(B), NO]}, "rejected_messages"),
        ("arena", {"conversation_a": [user(A), YES], "conversation_b": [user(B), NO], "winner": "model_a"}, "_b"),
        ("distilabel", {"chosen": [user(A), YES], "rejected": [user(B), NO], "chosen_rating": 2}, "rejected"),
        (
            "povid",
            {"image": None, "conversations": [from_human(A), GPT], "rejected_conversations": [from_human(B), WRONG]},
            "rejected_conversations",
        ),
    ],
)
def test_conversations_about_different_pictures_are_no_pair(
    reader: str, row: dict[str, Any], column: str, folder: Path
) -> None:
    message = refused(folder, row, reader)
    assert f"{column}: has a part that shows 'b.png', and '" in message
    assert "both answers must be about the same pictures, in the same order: mend one of them" in message
    same = json.loads(json.dumps(row).replace(B, A))
    assert len(read(folder, same, reader).images) == 1


def test_a_video_in_a_message_is_not_dropped_for_one_in_a_column(folder: Path) -> None:
    part = {"type": "video", "video": [A, B]}
    row = {"messages": [{"role": "user", "content": [part, TEXT]}, YES], "rejected_response": "No."}
    assert len(read(folder, row | {"videos": [[A, B]]}, "swift").images) == 2
    message = refused(folder, row | {"videos": [[B, A]]}, "swift")
    assert "messages: has a part that shows 'a.png', and 'videos' shows 'b.png', 'a.png'; keep one of them" in message


@pytest.mark.parametrize(
    ("own", "row"),
    [
        (("What?", "Who?"), {}),
        (("What?", "What?"), {"question": "Who?"}),
        (("What?", None), {"question": "Who?"}),
        ((None, "Who?"), {"question": "What?"}),
    ],
)
def test_answers_to_different_questions_are_no_pair(
    own: tuple[str | None, str | None], row: dict[str, Any], folder: Path
) -> None:
    chosen, reject = ({"question": each, "answer": answer} for each, answer in zip(own, ("Yes.", "No."), strict=True))
    message = refused(folder, {"image_id": A, "chosen": chosen, "reject": reject} | row, "ha_dpo")
    assert "answers to different questions make no pair: mend one, or remove the row" in message
    alike = {"question": "What?", "answer": "Yes."}, {"question": "What?", "answer": "No."}
    example = read(folder, {"image_id": A, "chosen": alike[0], "reject": alike[1], "question": "What?"}, "ha_dpo")
    assert example.prompt[-1].text.endswith("What?")  # type: ignore[union-attr]


# One sound row of every named reader.
SOUND: dict[str, dict[str, Any]] = {
    "rlaif_v": {"image": A, "question": "What?", "chosen": "Yes.", "rejected": "No."},
    "rlhf_v": {"image": A, "text": json.dumps({"question": "What?", "chosen": "Yes.", "rejected": "No."})},
    "seva": {"image_id": A, "question": "What?", "chosen": "Yes.", "reject": "No."},
    "hound": {"video": "walk", "prompt": "What?", "chosen": "Yes.", "rejected": "No."},
    "llamafactory": {"instruction": "What?", "good": "Yes.", "bad": "No."},
    **dict(reversed(ROWS)),
}
# Columns that no reader reads, and that say that the rejected answer is the better one.
AGAINST: list[dict[str, Any]] = [
    {"margin": -0.5},
    {"score_margin": "-2"},
    {"winner": "rejected"},
    {"winner": "tie"},
    {"is_swapped": True},
    {"is_chosen_better": False},
    {"chosen_rank": 2, "rejected_rank": 1},
    {"chosen_reward": 0.5, "rejected_reward": 1.5},
    {"chosen_score": 1, "rejected_score": 2},
]
OWN_NAMES: list[tuple[str, dict[str, Any]]] = [
    ("openai", {"preferred_score": 1, "non_preferred_score": 2}),
    ("openai", {"winner": "non_preferred_output"}),
    ("seva", {"chosen_score": 1, "reject_score": 2}),
    ("swift", {"winner": "rejected_response"}),
    ("swift", {"response_score": 1, "rejected_response_score": 2}),
    ("povid", {"winner": "rejected_conversations"}),
    ("sentinel", {"winner": "y_lose"}),
    ("llamafactory", {"good_score": 1, "bad_score": 2}),
    ("llamafactory", {"winner": "bad"}),
]
# Readers that find in the row which answer is better.
READ_ORDER = {"align_anything", "arena", "argilla", "llava_rlhf", "bpo", "vlfeedback"}


def read_named(folder: Path, reader: str, row: dict[str, Any]) -> None:
    """Read the row. Raises `DataError`."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row))
    options: dict[str, Any] = {}
    if reader == "llamafactory":
        columns = {"prompt": "instruction", "chosen": "good", "rejected": "bad"}
        entry = {"file_name": path.name, "ranking": True, "columns": columns}
        (folder / "dataset_info.json").write_text(json.dumps({"own": entry}))
        path, options = folder, {"dataset": "own"}
    [example] = component("reader", reader, path=str(path), images=folder, **options).open()  # type: ignore[attr-defined]
    assert problems_of_row(example) == []


def test_there_is_a_row_of_every_named_reader(folder: Path) -> None:
    component("reader", "trl", path="rows.jsonl")  # loads the plugins
    readers = [each for each in TableReader.named() if each.__module__.startswith("mdpo_readers.")]
    own = {each.component_name() for each in readers}
    assert own == set(SOUND)
    assert {each.component_name() for each in readers if each.reads_order} == READ_ORDER
    for reader in own:
        read_named(folder, reader, SOUND[reader])
        read_named(folder, reader, SOUND[reader] | {"margin": 0.5, "is_swapped": False, "chosen_score": 2})


@pytest.mark.parametrize("against", AGAINST, ids=lambda each: next(iter(each)))
@pytest.mark.parametrize("reader", sorted(set(SOUND) - READ_ORDER))
def test_no_reader_passes_over_a_column_that_contradicts_the_order(
    reader: str, against: dict[str, Any], folder: Path
) -> None:
    with pytest.raises(
        DataError, match=r"row 1: (margin|score_margin|winner|is_swapped|is_chosen_better|chosen_\w+): "
    ):
        read_named(folder, reader, SOUND[reader] | against)


@pytest.mark.parametrize(("reader", "against"), OWN_NAMES)
def test_a_contradiction_may_use_the_names_of_the_format(reader: str, against: dict[str, Any], folder: Path) -> None:
    with pytest.raises(DataError, match=rf"row 1: {next(iter(against))}: .*if the order is right, set data.unread: "):
        read_named(folder, reader, SOUND[reader] | against)


@pytest.mark.parametrize(
    ("reader", "swapped"),
    [
        ("align_anything", {"overall_response": 1}),
        ("arena", {"winner": "model_b"}),
        ("argilla", {"preference.responses": ["response_1"]}),
        ("llava_rlhf", {"preference": 1}),
        ("bpo", {"completions": [{"response": "Yes.", "score": 1}, {"response": "No.", "score": 2}]}),
        (
            "vlfeedback",
            {
                "completions": [
                    {"response": text, "annotations": {"Helpfulness": {"Rating": rating}}}
                    for text, rating in (("Yes.", "1"), ("No.", "5"))
                ]
            },
        ),
    ],
)
def test_a_reader_without_that_check_takes_the_order_from_the_row(
    reader: str, swapped: dict[str, Any], folder: Path
) -> None:
    answers = [read(folder, SOUND[reader] | change, reader).responses["chosen"] for change in ({}, swapped)]
    assert answers == ["Yes.", "No."]


OLDER = {"query": "<image>What?", "response": "Yes.", "rejected_response": "No.", "images": [A]}


def test_older_rows_of_swift_are_read(folder: Path) -> None:
    example = read(folder, OLDER, "swift")
    assert (example.prompt, dict(example.responses)) == (
        (Turn("user", "<image>What?"),),
        {"chosen": "Yes.", "rejected": "No."},
    )
    more = {"history": [["Who?", "Me."]], "system": "Be brief."}
    prompt = read(folder, OLDER | more, "swift").prompt
    turns = [Turn("system", "Be brief."), Turn("user", "Who?"), Turn("assistant", "Me."), Turn("user", "<image>What?")]
    assert list(prompt) == turns  # type: ignore[arg-type]


def test_older_rows_of_swift_are_recognized(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mdpo_core.cli import main

    (folder / "older.jsonl").write_text(json.dumps(OLDER))
    assert main(["data", str(folder / "older.jsonl")]) == 0
    assert "data: {reader: swift, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "query: must be text"),
        ({"history": ["ab"]}, r"history\[0\]: must be a pair"),
        ({"messages": [USER, YES], "history": [["Who?", "Me."]]}, "history: holds earlier turns beside 'messages'"),
    ],
)
def test_a_fault_of_an_older_row_of_swift_has_its_column(change: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(DataError, match=f"row 1: {message}"):
        read(folder, OLDER | change, "swift")
