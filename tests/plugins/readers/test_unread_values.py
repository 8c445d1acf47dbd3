"""Columns of any name whose values say that a pair needs them: pictures, system prompts, and orders of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from support.one_row import BASE64, PICTURE, read, refused

from mdpo_core import DataError, Turn, component

ROW: dict[str, Any] = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}
USER, YES = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Yes."}
NO = {"role": "assistant", "content": "No."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        PIL.Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


ODD: list[tuple[str, Any]] = [
    ("thumbnail", "a.png"),
    ("photo", {"bytes": BASE64}),
    ("scan", {"bytes": BASE64, "path": None}),
    ("x", {"path": "a.png"}),
    ("x", {"bytes": BASE64}),
    ("x", [{"bytes": BASE64}, {"bytes": BASE64}]),
    ("x", [{"path": "a.png"}]),
    ("x", [["a.png"], ["b.png"]]),
    ("x", {"type": "image_url", "image_url": {"url": "https://host/a.jpg"}}),
    ("x", {"type": "image", "image": BASE64}),
    ("x", "folder/a.JPG"),
    ("x", "https://host/a.webp?size=9"),
]


@pytest.mark.parametrize(("column", "value"), ODD)
def test_a_picture_is_found_in_a_column_of_any_name(column: str, value: Any, folder: Path) -> None:
    row = ROW | {column: value}
    message = refused(folder, row, image=None)
    assert f"rows.jsonl row 1: {column}: holds a picture that nothing reads: " in message
    assert read(folder, row, image=None, unread=[column]).images == ()
    assert f"{column}: holds a picture that nothing reads" in refused(folder, row, "trl")


@pytest.mark.parametrize(("column", "value"), [each for each in ODD if each[0] != "x" or not isinstance(each[1], str)])
def test_a_second_picture_is_found_in_a_column_of_any_name(column: str, value: Any, folder: Path) -> None:
    other = json.loads(json.dumps(value).replace("a.png", "b.png"))
    row = ROW | {"prompt": "<image>What?", "image": "a.png", column: other}
    assert f"{column}: holds a picture" in refused(folder, row, image="image")
    assert len(read(folder, row, image="image", unread=[column]).images) == 1


def test_a_video_is_found_in_a_column_of_any_name(folder: Path) -> None:
    assert "x: holds a video" in refused(folder, ROW | {"x": ["walk.mp4"]}, image=None)


def test_what_only_tells_about_pictures_is_no_picture(folder: Path) -> None:
    told = {
        "source": "b.png",
        "note": "see picture.png",
        "meta": {"file_name": "000000001.jpg", "height": 3},
        "x": {"path": "a.png"},  # the picture that is read
        "audio": {"path": "a.wav"},
        "page": {"url": "https://host/page"},
        "messages": [USER, YES],
        "tags": ["png", "jpg"],
    }
    row = ROW | {"prompt": "<image>What?", "image": "a.png"} | told
    assert len(read(folder, row, image="image").images) == 1
    inside = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]
    row = {"prompt": [{"role": "user", "content": inside}], "chosen": [YES], "rejected": [NO], "source": "b.png"}
    assert len(read(folder, row, "trl").images) == 1


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([{"bytes": PICTURE, "path": "b.png"}] * 2),
        pyarrow.array([{"path": "b.png"}] * 2),
        pyarrow.array([[{"bytes": BASE64}]] * 2),
        pyarrow.array([PICTURE] * 2),
        pyarrow.array([BASE64] * 2),
        pyarrow.array([["b.png"], []]),
        pyarrow.array(["b.png", "c.png"]),
    ],
    ids=["bytes", "path", "list", "binary", "base64", "paths", "names"],
)
def test_a_picture_is_found_in_a_column_of_parquet(column: pyarrow.Array, tmp_path: Path) -> None:
    texts = {name: [text] * 2 for name, text in ROW.items()}
    parquet.write_table(pyarrow.table({**texts, "x": column}), tmp_path / "rows.parquet")
    rows = component("reader", "pairs", path=str(tmp_path / "rows.parquet"), image=None).open()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"rows.parquet row 1: x: holds a picture that nothing reads"):
        rows[0]


def test_a_picture_is_found_in_a_saved_table(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({**{name: [text] for name, text in ROW.items()}, "x": [{"path": "b.png"}]})
    table.save_to_disk(tmp_path / "saved")
    rows = component("reader", "pairs", path=str(tmp_path / "saved"), image=None).open()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"saved row 1: x: holds a picture that nothing reads"):
        rows[0]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_plain_values_are_no_pictures(value: Any) -> None:
    from mdpo_readers.formats.unread_pictures import held_kind

    texts = json.dumps(value).lower()
    if not any(f".{kind}" in texts for kind in ("jp", "png", "gif", "bmp", "tif", "avi", "heic", "m", "w")):
        assert held_kind("x", value, picture_is_read=False) is None


# Answers that have names: chosen is the better one.
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "rejected"}, "winner: prefers 'rejected', and the recipe prefers 'chosen'"),
        ({"preferred": " Rejected "}, "preferred: prefers ' Rejected ', and the recipe prefers 'chosen'"),
        ({"chosen_model": "m1", "rejected_model": "m2", "winner": "m2"}, "winner: prefers 'm2', and the recipe"),
        ({"model_chosen": "m1", "model_rejected": "m2", "better": "M2"}, "better: prefers 'M2', and the recipe"),
        ({"winner": "tie"}, "winner: says 'tie', so no answer is better"),
        ({"verdict": "both_bad"}, "verdict: says 'both_bad', so no answer is better"),
        ({"chosen_score": 1, "rejected_score": 2}, r"chosen_score: is 1, lower than 'rejected_score' (2), and the"),
        ({"score_rejected": "2.5", "score_chosen": "1"}, r"score_chosen: is 1, lower than 'score_rejected' (2.5)"),
        ({"chosen_rating": 1.0, "rejected_rating": 4}, r"chosen_rating: is 1, lower than 'rejected_rating' (4)"),
        ({"chosen_rank": 3, "rejected_rank": 1}, r"chosen_rank: is 3, a worse rank than 'rejected_rank' (1)"),
        ({"rank_chosen": "2", "rank_rejected": "1"}, r"rank_chosen: is 2, a worse rank than 'rank_rejected' (1)"),
        ({"is_chosen_better": False}, "is_chosen_better: says False, and the recipe prefers 'chosen'"),
        ({"chosen_is_preferred": "false"}, "chosen_is_preferred: says 'false', and the recipe prefers 'chosen'"),
        ({"rejected_is_better": True}, "rejected_is_better: says True, and the recipe prefers 'chosen'"),
        ({"margin": -2.0}, "margin: is -2, below 0, and the recipe prefers 'chosen'"),
        ({"score_margin": "-0.5"}, "score_margin: is -0.5, below 0, and the recipe prefers 'chosen'"),
        ({"swap": True}, "swap: says True, and the recipe takes the answers as they are"),
        ({"is_swapped": 1}, "is_swapped: says 1, and the recipe takes the answers as they are"),
    ],
)
@pytest.mark.parametrize("reader", ["pairs", "trl"])
def test_what_contradicts_the_order_is_a_bad_row(
    reader: str, change: dict[str, Any], message: str, folder: Path
) -> None:
    options: dict[str, Any] = {"image": None} if reader == "pairs" else {}
    found = refused(folder, ROW | change, reader, **options)
    assert f"rows.jsonl row 1: {message}" in found
    column = message.partition(":")[0]
    assert found.endswith(f"data.unread: [{column}]")
    assert read(folder, ROW | change, reader, unread=[column], **options).responses["chosen"] == "Yes."


@pytest.mark.parametrize(
    "change",
    [
        {"winner": "chosen"},
        {"winner": "m1", "chosen_model": "m1", "rejected_model": "m2"},
        {"winner": "m1", "chosen_model": "m1", "rejected_model": "m1"},
        {"preference": 1, "label": "x", "score_1": 3, "label_2": "tie"},
        {"chosen_score": 2, "rejected_score": 2},
        {"chosen_score": 2, "rejected_score": None},
        {"chosen_score": "high", "rejected_score": 3},
        {"chosen_rank": 1, "rejected_rank": 2},
        {"chosen_loss": 1, "rejected_loss": 2},
        {"is_chosen_better": True, "rejected_is_better": False, "swap": False, "is_swapped": "no", "margin": 0},
        {"margin": "wide", "left_margin": -2, "margin_top": -1, "swap_space": True, "is_better": False},
        {"chosen_rank": 2, "rejected_rank": 2},
        {"is_chosen_long": False, "flip": True, "swap": 12},
    ],
)
def test_what_agrees_with_the_order_is_of_no_interest(change: dict[str, Any], folder: Path) -> None:
    assert read(folder, ROW | change, image=None).responses["chosen"] == "Yes."


@pytest.mark.parametrize(
    ("answers", "change"),
    [
        (("model_a", "model_b"), {"winner": "model_b"}),
        (("model_a_response", "model_b_response"), {"winner": "model_a"}),
        (("response_a", "response_b"), {"model_a": "m1", "model_b": "m2", "winner": "m1"}),
    ],
)
def test_a_winner_of_unordered_answers_is_a_bad_row(
    answers: tuple[str, str], change: dict[str, Any], folder: Path
) -> None:
    row = {"prompt": "What?", answers[0]: "Yes.", answers[1]: "No.", **change}
    responses = dict(zip(("chosen", "rejected"), answers, strict=True))
    message = refused(folder, row, image=None, responses=responses)
    assert f"winner: says '{change['winner']}' of '{answers[0]}' and '{answers[1]}', which the recipe takes" in message


def test_the_name_of_a_model_orders_answers_that_have_names(folder: Path) -> None:
    row = {"prompt": "What?", "llava": "Yes.", "gpt4": "No.", "winner": "gpt4"}
    message = refused(folder, row, image=None, responses={"rejected": "gpt4", "chosen": "llava"})
    assert "winner: prefers 'gpt4', and the recipe prefers 'llava'" in message
    assert read(folder, row, image=None, responses={"chosen": "gpt4", "rejected": "llava"}).responses["chosen"] == "No."


@pytest.mark.parametrize("column", ["swap", "margin", "is_chosen_better"])
def test_signs_of_another_order_are_found_in_parquet(column: str, tmp_path: Path) -> None:
    table = {**{name: [text] for name, text in ROW.items()}, column: [{"swap": 1, "margin": -1}.get(column, 0)]}
    parquet.write_table(pyarrow.table(table), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=f"{column}: "):
        component("reader", "pairs", path=str(tmp_path / "rows.parquet"), image=None).open()[0]  # type: ignore[attr-defined]


def test_orders_are_found_in_parquet(tmp_path: Path) -> None:
    table = {**{name: [text] for name, text in ROW.items()}, "chosen_score": [1], "rejected_score": [2]}
    parquet.write_table(pyarrow.table(table), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="chosen_score: is 1, lower than 'rejected_score'"):
        component("reader", "pairs", path=str(tmp_path / "rows.parquet"), image=None).open()[0]  # type: ignore[attr-defined]


FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("pairs", ROW),
    ("trl", ROW),
    ("openai", {"input": {"messages": [USER]}, "preferred_output": [YES], "non_preferred_output": [NO]}),
    ("rlaif_v", {"image": None, "question": "What?", "chosen": "Yes.", "rejected": "No."}),
    ("mm_rlhf", {"image": None, "question": "What?", "chosen": "Yes.", "rejected": "No."}),
    ("arena", {"conversation_a": [USER, YES], "conversation_b": [USER, NO], "winner": "model_a"}),
    ("povid", {"image": None, "conversations": [USER, YES], "rejected_conversations": [USER, NO]}),
    ("align_anything", {"question": "What?", "response_1": "Yes.", "response_2": "No.", "overall_response": 1}),
]


@pytest.mark.parametrize(("reader", "row"), FORMATS, ids=[name for name, _ in FORMATS])
@pytest.mark.parametrize("column", ["system", "system_prompt", "history"])
def test_a_system_prompt_that_nothing_reads_is_a_bad_row(
    reader: str, row: dict[str, Any], column: str, folder: Path
) -> None:
    options: dict[str, Any] = {"image": None} if reader == "pairs" else {}
    value: Any = [["Who?", "Me."]] if column == "history" else "Be brief."
    message = refused(folder, row | {column: value}, reader, **options)
    kind = "earlier turns" if column == "history" else "a system prompt"
    assert f"row 1: {column}: holds {kind} that nothing reads: " in message
    assert message.endswith(f"or leave it out: data.unread: [{column}]")
    assert read(folder, row | {column: value}, reader, unread=[column], **options)
    for nothing in ("", None, " ", []):
        assert read(folder, row | {column: nothing}, reader, **options)


def test_a_system_prompt_that_the_messages_have_is_read(folder: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    row = {"prompt": [system, USER], "chosen": [YES], "rejected": [NO], "system_prompt": "Be brief."}
    assert read(folder, row, "trl").prompt == (Turn("system", "Be brief."), Turn("user", "What?"))


def test_llamafactory_says_where_its_column_is_declared(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"file_name": "rows.json", "ranking": True}
    row = {"instruction": "What?", "chosen": "Yes.", "rejected": "No.", "sys_prompt": "Be brief."}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"boats": entry}))
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match=r"name it in dataset_info.json, columns: {system: sys_prompt}, or leave"):
        component("reader", "llamafactory", path=str(tmp_path), dataset="boats").open()[0]  # type: ignore[attr-defined]


def test_an_unknown_part_of_a_message_names_no_option_of_one_reader() -> None:
    from mdpo_readers import conversations
    from mdpo_readers.cell_types import Cell

    cell = Cell("rows.jsonl row 1", "prompt", [{"role": "user", "content": [{"type": "sound"}]}])
    with pytest.raises(DataError, match=r"must be a part of a message: {type: text, text}, {type: image} or {type"):
        conversations.prompt(cell)
