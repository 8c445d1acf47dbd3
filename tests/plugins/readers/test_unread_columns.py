"""Columns that nothing reads: pictures, videos and preferences are refused, and all others are of no interest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pytest
from support.one_row import BASE64, read, refused
from support.pictures import upright

from mdpo_core import DataError, component

ROW = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        PIL.Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("image", "a.png", "picture"),
        ("images", ["a.png"], "picture"),
        ("second_image", "b.png", "picture"),
        ("image_url", "https://host/a.JPG?size=9", "picture"),
        ("img", {"path": "a.png", "bytes": None}, "picture"),
        ("scan", BASE64, "picture"),
        ("scan", f"data:image/png;base64,{BASE64}", "picture"),
        ("scan", [{"bytes": BASE64, "path": "a.png"}, f"data:image/png;base64,{BASE64}"], "picture"),
        ("video", "walk.mp4", "video"),
        ("video", "a_folder_of_frames", "video"),
        ("videos", [["walk1.png", "walk2.png"]], "video"),
        ("video_path", "walk.webm", "video"),
    ],
)
def test_a_picture_that_nothing_reads_is_a_bad_row(column: str, value: Any, kind: str, folder: Path) -> None:
    row = ROW | {column: value}
    message = refused(folder, row, image=None)
    assert f"rows.jsonl row 1: {column}: holds a {kind} that nothing reads: " in message
    assert message.endswith(f"data.unread: [{column}]")
    assert read(folder, row, image=None, unread=[column]).images == ()


@pytest.mark.parametrize("reader", ["pairs", "trl"])
def test_a_second_picture_beside_one_that_is_read_is_refused(reader: str, folder: Path) -> None:
    options = {"image": "image"} if reader == "pairs" else {}
    for column, value in (("image2", "b.png"), ("second_image_path", "b.png"), ("video", "b.mp4")):
        row = ROW | {"prompt": "<image>What?", "image": "a.png", column: value}
        assert f"{column}: holds a " in refused(folder, row, reader, **options)
        assert len(read(folder, row, reader, unread=[column], **options).images) == 1


def test_what_names_the_picture_that_is_read_is_no_second_one(folder: Path) -> None:
    names = {
        "image_path": "own/other.png",
        "image_url": "https://host/x.jpg",
        "coco_image": "coco/train/a.png",
        "images": None,
        "video": "",
        "frames": [],
        "image_id": "b.png",
        "label": "boat",
        "preference": 2,
        "imagery": "vivid",
        "picture_quality": "good",
        "source": "b.png",
        "text_with_picture": "see picture.png in the annex of this text, please",
    }
    row = ROW | {"prompt": "<image>What?", "image": "a.png"} | names
    assert len(read(folder, row, image="image").images) == 1


UNORDERED = {"prompt": "What?", "response_1": "Yes.", "response_2": "No."}
ANSWERS = {"chosen": "response_1", "rejected": "response_2"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("preference", 2),
        ("overall_response", 1),
        ("label", "response_1"),
        ("winner", "b"),
        ("better_response_id", 0),
        ("human_preference", "1"),
        ("score_1", 0.5),
        ("rating_2", 4),
    ],
)
def test_a_preference_beside_unordered_answers_is_a_bad_row(column: str, value: Any, folder: Path) -> None:
    row = UNORDERED | {column: value}
    message = refused(folder, row, image=None, responses=ANSWERS)
    assert f"rows.jsonl row 1: {column}: says {value!r} of 'response_1' and 'response_2'" in message
    assert message.endswith(f"set data.unread: [{column}]")
    assert read(folder, row, image=None, responses=ANSWERS, unread=[column]).responses["chosen"] == "Yes."


def test_a_preference_that_is_read_as_a_number_is_read(folder: Path) -> None:
    row = UNORDERED | {"score_1": 0.5, "score_2": 0.25}
    columns = ("score_1", "score_2")
    assert read(folder, row, image=None, responses=ANSWERS, columns=columns).columns["score_1"] == 0.5


@pytest.mark.parametrize("answers", [("chosen", "rejected"), ("good", "bad"), ("response_0", "worse_response")])
def test_answers_with_names_are_ordered(answers: tuple[str, str], folder: Path) -> None:
    row = {"prompt": "What?", answers[0]: "Yes.", answers[1]: "No.", "preference": 1, "label": "x", "score_1": 3}
    responses = dict(zip(("chosen", "rejected"), answers, strict=True))
    assert read(folder, row, image=None, responses=responses).responses["chosen"] == "Yes."


def test_pictures_of_a_table_are_seen_by_their_type(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({**{name: [text] for name, text in ROW.items()}, "scan": [upright()]})
    table.to_parquet(tmp_path / "rows.parquet")
    rows = component("reader", "pairs", path=str(tmp_path / "rows.parquet"), image=None).open()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"rows.parquet row 1: scan: holds a picture that nothing reads"):
        rows[0]


def test_only_rows_with_such_a_value_are_bad(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"image": "a.png"}, ROW | {"image": None}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = component("reader", "pairs", path=str(tmp_path / "rows.jsonl"), image=None).open()  # type: ignore[attr-defined]
    assert found[0].images == found[2].images == ()
    with pytest.raises(DataError, match=r"row 2: image: holds a picture"):
        found[1]
