"""Faults in rows of named formats: each is a `DataError` with row, column and what to write, and nothing is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.paths import DATA

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.data.checking import open_data

FORMATS = DATA / "formats"
BOAT = str(FORMATS / "quirks" / "images" / "boat.png")
USER, YES = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Yes."}
QUESTION = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}
SWIFT = {"messages": [USER, YES], "rejected_response": "No."}
BATTLE = {
    "conversation_a": [USER, YES],
    "conversation_b": [USER, {"role": "assistant", "content": "No."}],
    "winner": "model_a",
}
VOTES = {"prompt": "What?", "response_1": "Yes.", "response_2": "No.", "preference.responses": ["response_1"]}


def rated(*ratings: Any) -> dict[str, Any]:
    annotations = {f"aspect {place}": each and {"Rating": each} for place, each in enumerate(ratings)}
    return {"response": " ".join(str(each) for each in ratings), "annotations": annotations}


FEEDBACK = {"prompt": "What?", "img_path": None, "completions": [rated("5"), rated("1")]}
HOUND = {"video": "walk", "prompt": "What?", "chosen": "Yes.", "rejected": "No."}
OUTPUTS: dict[str, Any] = {
    "conversations": [USER],
    "output_1": "No.",
    "output_2": "Yes.",
    "preference": 2,
}
RESPONSES = {"question": "What?", "response_1": "No.", "response_2": "Yes.", "overall_response": 2}


def rows_of(folder: Path, reader: str, *rows: dict[str, Any], **options: Any) -> list[Example]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(component("reader", reader, path=str(folder / "rows.jsonl"), **options).open())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reader", "row", "empty", "filled"),
    [
        ("trl", QUESTION, "images", "image"),
        ("swift", SWIFT, "images", "image"),
        ("arena", BATTLE, "images", "image"),
        ("vlfeedback", FEEDBACK, "img_path", "image"),
    ],
)
def test_no_picture_is_dropped_for_an_empty_column(
    reader: str, row: dict[str, Any], empty: str, filled: str, tmp_path: Path
) -> None:
    for nothing in ([], "", None):
        [example] = rows_of(tmp_path, reader, {**row, empty: nothing, filled: "boat.png"}, images=Path(BOAT).parent)
        assert len(example.images) == 1
    with pytest.raises(DataError, match=rf"row 1: {filled}: is filled, and so is '{empty}'"):
        rows_of(tmp_path, reader, {**row, empty: ["boat.png"], filled: "boat.png"}, images=Path(BOAT).parent)


@pytest.mark.parametrize(
    ("reader", "row", "message"),
    [
        ("swift", {**SWIFT, "videos": ["walk.mp4"]}, r"videos\[0\]: .*walk.mp4' does not exist"),
        ("swift", {**SWIFT, "videos": [[]]}, r"videos\[0\]: is a video without frames"),
        ("swift", {**SWIFT, "video": "walk.mp4"}, "video: .*walk.mp4' does not exist"),
        ("swift", {**SWIFT, "video": "walk.mp4", "videos": [["a.png"]]}, "video: is filled, and so is 'videos'"),
        ("swift", {**SWIFT, "audios": ["a.wav"]}, "audios: sounds are not read"),
        (
            "swift",
            {**SWIFT, "messages": [{**USER, "content": "<video>What?"}, YES]},
            "messages: has 1 <video> marks, and the row has 0 videos",
        ),
        ("swift", {**SWIFT, "rejected_response": "<video>", "videos": [["a.png"]]}, "messages: an answer contains"),
        (
            "swift",
            {"messages": [USER, YES], "rejected_images": [], "rejected_messages": [], "rejected_response": None},
            "rejected_response: is empty, and so are rejected_messages and rejected_images",
        ),
        (
            "swift",
            {**SWIFT, "rejected_messages": [USER, YES]},
            "rejected_messages: is filled, and so is rejected_response; keep one of them",
        ),
        ("arena", {**BATTLE, "winner": "model_A"}, "winner: must be model_a, model_b or a tie"),
        ("arena", {**BATTLE, "winner": ["model_a"]}, "winner: must be model_a, model_b or a tie"),
        ("argilla", {**VOTES, "preference.responses": {}}, "preference.responses: must be a list"),
        ("argilla", {**VOTES, "preference.responses": 0}, "preference.responses: must be a list"),
        (
            "argilla",
            {**VOTES, "preference.responses.status": ["submitted", "draft"]},
            "preference.responses.status: must be a list with a status for each of the 1 responses",
        ),
        ("argilla", {**VOTES, "preference.responses.status": "submitted"}, "preference.responses.status: must be"),
        (
            "vlfeedback",
            {**FEEDBACK, "completions": {"response": ["a", "b"], "annotations": [{}]}},
            "completions: must be a list of rated answers, or an object of lists of the same length",
        ),
        (
            "vlfeedback",
            {**FEEDBACK, "completions": [rated("1e308", "1e308"), rated("1")]},
            r"completions\[0\]: has the rating 1e\+308, and VLFeedback's ratings go from 1 to 5; correct it, or write",
        ),
        *(
            (
                "vlfeedback",
                {**FEEDBACK, "completions": [rated("3"), rated("1", off)]},
                rf"completions\[1\]: .*{off}, and",
            )
            for off in ("50", "-1", "0", 5.5, 0.5)
        ),
        ("rlhf_v", {"text": '{"question": "a", "question": "b"}'}, "text: .*'question' occurs twice"),
        ("rlhf_v", {"text": '{"question": "\\ud83d"}'}, "text: .*half of a character"),
        ("rlhf_v", {"text": "[1]"}, "text: must be a JSON object in a text: .*is not an object"),
        ("hound", {**HOUND, "video": ""}, "video: must be the name of a folder of frames"),
        ("hound", {**HOUND, "video": "walk/.."}, "video: must be the name of a folder of frames"),
        ("hound", {**HOUND, "video": "a\0b"}, "video: must be the name of a folder of frames"),
        ("llava_rlhf", {**OUTPUTS, "preference": True}, "preference: must be 1 or 2"),
        ("llava_rlhf", {**OUTPUTS, "preference": 1.5}, "preference: must be 1 or 2"),
        ("align_anything", {**RESPONSES, "overall_response": True}, "overall_response: must be 1 or 2"),
        ("align_anything", {**RESPONSES, "overall_response": False}, "overall_response: must be 1 or 2"),
    ],
)
def test_a_fault_is_named_with_row_and_column(reader: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    if reader == "rlhf_v":
        row = {"image": None, "ds_name": "x", **row}
    with pytest.raises(DataError, match=rf"rows.jsonl row 1: {message}"):
        rows_of(tmp_path, reader, row, images=FORMATS)


def test_the_frames_of_each_video_stand_where_its_mark_is(tmp_path: Path) -> None:
    messages = [{**USER, "content": "First <video>, then <video>."}, YES]
    walk = [f"walk{number}.png" for number in (1, 2, 3)]
    row = {**SWIFT, "messages": messages, "videos": [walk[:2], walk[2:]]}
    [example] = rows_of(tmp_path, "swift", row, images=FORMATS / "swift_video_frames" / "frames")
    assert example.prompt == (Turn("user", "First <image><image>, then <image>."),)
    assert [image.size for image in example.images] == [(30, 10), (30, 11), (30, 12)]


def test_rows_that_all_make_no_pair_are_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({**BATTLE, "winner": "tie"}) + "\n")
    with pytest.raises(DataError, match="'arena' gives no rows: no pair comes from its 1 row, as from ties"):
        open_data(component("reader", "arena", path=str(tmp_path / "rows.jsonl")))  # type: ignore[arg-type]


def test_the_ties_of_arena_make_no_pair(tmp_path: Path) -> None:
    ties = [{**BATTLE, "winner": winner} for winner in ("tie", "tie (bothbad)", "both_bad")]
    assert [row.id for row in rows_of(tmp_path, "arena", *ties, BATTLE)] == ["4-1"]


@pytest.mark.parametrize("preferred", [2, 2.0, "2", "2.0"])
def test_a_preference_may_be_written_as_a_float_or_text(preferred: Any, tmp_path: Path) -> None:
    for reader, row in (
        ("llava_rlhf", {**OUTPUTS, "preference": preferred}),
        ("align_anything", {**RESPONSES, "overall_response": preferred}),
    ):
        [example] = rows_of(tmp_path, reader, row)
        assert example.responses == {"chosen": "Yes.", "rejected": "No."}


def test_a_null_aspect_is_left_out_of_the_mean_and_text_that_is_no_number_drops_the_answer(tmp_path: Path) -> None:
    completions = [rated("4", None), rated("1_0"), rated("1", "2")]
    [example] = rows_of(tmp_path, "vlfeedback", {**FEEDBACK, "completions": completions})
    assert example.columns == {"chosen_score": 4.0, "rejected_score": 1.5}


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "walk").mkdir()
    for number in (1, 2, 9, 10, 11):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / "walk" / f"f{number}.png")
    [example] = rows_of(tmp_path, "hound", HOUND, images=tmp_path)
    assert [image.width - 20 for image in example.images] == [1, 2, 9, 10, 11]


def test_a_rejected_picture_is_the_other_picture_of_a_condition() -> None:
    folder = FORMATS / "swift_rejected_images"
    rows = component("reader", "swift", path=str(folder / "pairs.jsonl"), images=folder).open()  # type: ignore[attr-defined]
    condition: Any = component("corruption", "dataset_image", picture="rejected_images")
    changed = condition.apply(rows[0], Random(0), rows)
    assert list(changed.images) == list(rows[0].other_images["rejected_images"]) != list(rows[0].images)


@pytest.mark.parametrize("rejected", ["rejected_response", "rejected_messages"])
def test_other_pictures_beside_a_rejected_answer_are_no_silent_ones(rejected: str, tmp_path: Path) -> None:
    no: Any = "No." if rejected == "rejected_response" else [USER, {"role": "assistant", "content": "No."}]
    row = {"messages": [USER, YES], "images": [BOAT], rejected: no}
    for same in ([BOAT], BOAT, [], None):
        [read] = rows_of(tmp_path, "swift", {**row, "rejected_images": same}, images=Path(BOAT).parent)
        assert read.responses["rejected"] == "No."
    other = {**row, "rejected_images": ["dog.png"]}
    with pytest.raises(DataError, match="has other pictures than the row, and an answer is rejected, too"):
        rows_of(tmp_path, "swift", other, images=Path(BOAT).parent)
    [read] = rows_of(tmp_path, "swift", other, images=Path(BOAT).parent, unread=["rejected_images"])
    assert (dict(read.other_images), read.responses["rejected"]) == ({}, "No.")


def test_an_empty_rejected_response_beside_another_rejected_part_is_absent(tmp_path: Path) -> None:
    swift = {"messages": [USER, YES], "rejected_response": ""}
    [of_pictures] = rows_of(tmp_path, "swift", {**swift, "rejected_images": [BOAT]}, images=Path(BOAT).parent)
    assert of_pictures.responses == {"chosen": "Yes."}
    other = [USER, {"role": "assistant", "content": "No."}]
    [of_messages] = rows_of(tmp_path, "swift", {**swift, "rejected_messages": other})
    assert of_messages.responses["rejected"] == "No."
    assert rows_of(tmp_path, "swift", swift)[0].responses["rejected"] == ""


def test_a_picture_that_a_named_format_does_not_have_is_refused_with_options_it_has(tmp_path: Path) -> None:
    row = {"question": "What?", "chosen": "A.", "rejected": "B.", "image": None, "image2": "b.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    message = r"image2: holds a picture .*read the file with reader: pairs, or leave it out: data.unread: \[image2\]"
    with pytest.raises(DataError, match=message):
        component("reader", "rlaif_v", path=str(tmp_path / "rows.jsonl")).open()[0]  # type: ignore[attr-defined]
