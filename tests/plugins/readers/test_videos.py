"""Rows with videos: every form of a video, where its frames stand, and what is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet
import pytest
from mdpo_readers import Pair, Row, TableReader, VideoReader, asked, text
from PIL import Image
from support.pictures import as_bytes
from support.videos import numbers_of, write_video

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.testing import check_reader
from mdpo_core.types.stored_bytes import noted_files

ROW = {"prompt": "<video>What happens?", "chosen": "It grows.", "rejected": "It shrinks."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``walk.mp4`` of 20 frames, ``run.mkv`` of 8, the folder ``steps`` of frames 1 to 12, and ``boat.png``."""
    write_video(tmp_path / "walk.mp4")
    write_video(tmp_path / "run.mkv", 8)
    (tmp_path / "steps").mkdir()
    for number in range(1, 13):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / "steps" / f"f{number}.png")
    Image.new("RGB", (24, 16)).save(tmp_path / "boat.png")
    return tmp_path


def reader(folder: Path, *rows: dict[str, Any], name: str = "pairs", **options: Any) -> Any:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if name == "pairs":
        options = {"image": None, "video": "video"} | options
    return component("reader", name, path=str(folder / "rows.jsonl"), images=folder, **options)


def example(folder: Path, row: dict[str, Any], **options: Any) -> Example:
    opened = reader(folder, row, **options)
    check_reader(opened)
    [found] = opened.open()
    assert isinstance(found, Example)
    return found


def widths(row: Example) -> list[int]:
    return [image.width - 20 for image in row.images]


@pytest.mark.parametrize("form", ["path", "bytes", "uri", "object", "list"])
def test_a_video_comes_in_every_form(form: str, folder: Path) -> None:
    content = (folder / "walk.mp4").read_bytes()
    forms: dict[str, Any] = {
        "path": "walk.mp4",
        "bytes": content,
        "uri": f"data:video/mp4;base64,{b64encode(content).decode()}",
        "object": {"bytes": content, "path": "elsewhere.mp4"},
        "list": ["walk.mp4"],
    }
    table = pyarrow.Table.from_pylist([{**ROW, "video": forms[form]}])
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    opened: Any = component(
        "reader", "pairs", path=str(folder / "rows.parquet"), images=folder, image=None, video="video", frames=4
    )
    [row] = opened.open()
    assert numbers_of(row.images) == [2, 7, 12, 17]
    assert (row.prompt, row.videos) == ("<image>" * 4 + "What happens?", (range(4),))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_a_list_of_embedded_pictures_is_one_video(kind: str, tmp_path: Path) -> None:
    pictures = [as_bytes(Image.new("RGB", (20 + number, 20)), kind) for number in range(1, 4)]
    rows = [{**ROW, "video": [b64encode(each).decode() for each in pictures]}]
    assert [widths(row) for row in reader(tmp_path, *rows).open()] == [[1, 2, 3]]
    table = pyarrow.Table.from_pylist([{**ROW, "video": pictures}])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    opened: Any = component("reader", "pairs", path=str(tmp_path / "rows.parquet"), image=None, video="video")
    assert [widths(row) for row in opened.open()] == [[1, 2, 3]]


def test_a_folder_gives_frames_by_their_numbers_and_a_list_all(folder: Path) -> None:
    assert widths(example(folder, {**ROW, "video": "steps"}, frames=100)) == list(range(1, 13))
    assert widths(example(folder, {**ROW, "video": "steps"}, frames=3)) == [3, 7, 11]
    assert len(example(folder, {**ROW, "video": "steps"}).images) == 8
    names = [f"steps/f{number}.png" for number in range(12, 0, -1)]
    assert widths(example(folder, {**ROW, "video": names})) == list(range(12, 0, -1))
    assert widths(example(folder, {**ROW, "video": names}, frames=2)) == [9, 3]


def test_frames_and_pictures_stand_where_their_marks_are(folder: Path) -> None:
    row = {"prompt": "Is <image> in <video> or in <video>?", "chosen": "a", "rejected": "b"}
    row |= {"picture": "boat.png", "video": ["walk.mp4", "steps"]}
    found = example(folder, row, image="picture", frames=2)
    assert found.prompt == "Is <image> in <image><image> or in <image><image>?"
    assert found.videos == (range(1, 3), range(3, 5))
    assert [image.width for image in found.images] == [24, 48, 48, 24, 30]


def test_marks_that_nobody_wrote_stand_first(folder: Path) -> None:
    row = {**ROW, "prompt": "What happens?", "video": "steps", "picture": "boat.png"}
    found = example(folder, row, image="picture", frames=2, marks="first")
    assert (found.prompt, found.videos) == ("<image><image><image>\nWhat happens?", (range(1, 3),))


def test_an_image_mark_alone_stands_for_the_video_as_in_llava_s_files(folder: Path) -> None:
    found = example(folder, {**ROW, "prompt": "<image>\nWhat happens?", "video": "steps"}, frames=2)
    assert (found.prompt, found.videos) == ("<image><image>\nWhat happens?", (range(2),))


def test_a_video_may_be_a_part_of_a_message(folder: Path) -> None:
    parts = [{"type": "video", "video": "walk.mp4"}, {"type": "text", "text": "What happens?"}]
    row = {**ROW, "prompt": [{"role": "user", "content": parts}]}
    found = example(folder, row, video=None, frames=2)
    assert found.prompt == (Turn("user", "<image><image>What happens?"),)
    assert numbers_of(found.images) == [5, 15]


USER = {"role": "user", "content": "<video>What happens?"}
YES, NO = {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "No."}
PART = {"role": "user", "content": [{"type": "video", "video": "walk.mp4"}, {"type": "text", "text": "What happens?"}]}
NAMED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("swift", {"messages": [USER, YES], "rejected_response": "No.", "videos": ["walk.mp4"]}, {"frames": 2}),
    ("swift", {"messages": [USER, YES], "rejected_response": "No.", "video": "walk.mp4"}, {"fps": 1}),
    ("swift", {"messages": [PART, YES], "rejected_response": "No."}, {"frames": 2}),
    ("trl", {"prompt": [PART], "chosen": [YES], "rejected": [NO]}, {"frames": 2}),
    ("openai", {"input": {"messages": [PART]}, "preferred_output": [YES], "non_preferred_output": [NO]}, {"frames": 2}),
    ("mm_rlhf", {"video": "walk.mp4", "prompt": "What happens?", "chosen": "Yes.", "rejected": "No."}, {"frames": 2}),
    ("hound", {"video": "walk.mp4", "prompt": "What happens?", "chosen": "Yes.", "rejected": "No."}, {"frames": 2}),
]


@pytest.mark.parametrize(("name", "row", "options"), NAMED)
def test_named_formats_read_video_files(name: str, row: dict[str, Any], options: dict[str, Any], folder: Path) -> None:
    found = example(folder, row, name=name, **options)
    ends = [0, 19] if name in ("hound", "mm_rlhf") else [5, 15]  # LLaVA's authors take the first frame and the last
    assert numbers_of(found.images) == ([0, 10] if "fps" in options else ends)
    assert found.videos == (range(2),)
    assert found.num_marks == 2


def test_llamafactory_reads_videos(folder: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "<video>What?"}], "videos": ["walk.mp4"]}
    row |= {key: {"from": "gpt", "value": key} for key in ("chosen", "rejected")}
    (folder / "pairs.json").write_text(json.dumps([row]))
    entry = {"file_name": "pairs.json", "ranking": True, "formatting": "sharegpt"}
    (folder / "dataset_info.json").write_text(json.dumps({"walks": entry}))
    opened: Any = component("reader", "llamafactory", path=str(folder), dataset="walks", frames=2)
    check_reader(opened)
    assert numbers_of(opened.open()[0].images) == [5, 15]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"video": "walk.avi"}, {}, r"video: '.*walk.avi' does not exist"),
        (
            {"video": "boat.png"},
            {},
            r"video: '.*boat.png' cannot be used: it is a picture, not a video; name its column",
        ),
        ({"video": "empty"}, {}, r"video: the folder of frames '.*empty' has no picture \(.jpg, "),
        ({"video": [[]]}, {}, r"video\[0\]: is a video without frames; list its frames, or remove the row"),
        ({"video": ["boat.png", "walk.mp4"]}, {}, "video: mixes pictures with videos; write a list of frames, or"),
        ({"video": "steps"}, {"fps": 1}, "video: fps needs times, which frames in a folder or a list do not have; set"),
        ({"video": "https://host/a.mp4"}, {}, "video: 'https://host/a.mp4' is a web address; download the video"),
        ({"video": "../a"}, {}, "video: '../a' lies outside of data.images"),
        ({"video": ".."}, {}, r"video: '..' lies outside of data.images"),
        ({"video": "."}, {}, "video: must be the name of a folder of frames or of a video below data.images"),
        ({"video": "data:video/mp4;base64,AAAB*"}, {}, "video: contains an embedded video .* whose base64 is damaged"),
        ({"video": 3}, {}, "video: must be the name of a folder of frames or of a video file, a list of frames, or"),
        ({"video": {"frames": 3}}, {}, "video: must be the name of a folder of frames or of a video file"),
        (
            {"video": None},
            {},
            "prompt: has 1 <video> marks, and the row has 0 videos; write one for each video, or set",
        ),
        ({"video": None}, {}, "prompt: has 1 <video> marks, and the row has 0 videos"),
        ({"video": ""}, {}, "video: is a video without frames; write null for a row without one, or remove the row"),
        ({"video": ["walk.mp4", "run.mkv"]}, {}, "prompt: has 1 <video> marks, and the row has 2 videos"),
        ({"prompt": "What?", "video": "run.mkv"}, {}, "prompt: has 0 <video> marks, and .* or set data.marks: first"),
        (
            {"video": "run.mkv"},
            {"video": None},
            "video: holds a video that nothing reads: 'run.mkv'; read it with data.video: video, or leave it out",
        ),
        (
            {"video": "run.mkv"},
            {"video": None, "unread": ["video"]},
            "prompt: has 1 <video> marks, .*; name the column of videos: data.video",
        ),
        (
            {"prompt": "<image><image><video>", "video": "run.mkv"},
            {},
            "prompt: has 2 <image> marks, and beside its videos the row has 0 pictures",
        ),
        ({"video": "rows.jsonl"}, {}, "video: '.*rows.jsonl' cannot be used: it is a JSON text"),
    ],
)
def test_what_cannot_be_read_is_named_with_row_and_column(
    change: dict[str, Any], options: dict[str, Any], message: str, folder: Path
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=f"rows.jsonl row 1: {message}"):
        reader(folder, {**ROW, **change}, **options).open()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 4, "fps": 1}, "frames and fps both say which frames"),
        ({"max_frames": 4}, "max_frames has no effect without fps"),
        ({"frames": 0}, "greater than or equal to 1"),
        ({"fps": 0}, "greater than 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        reader(folder, ROW, **options)


def test_without_pyav_the_message_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"walk.mp4' needs PyAV to be read: pip install 'mdpo\[video\]', or store"):
        reader(folder, {**ROW, "video": "walk.mp4"}).open()[0]


def test_a_condition_in_time_changes_the_frames_of_a_file(folder: Path) -> None:
    from random import Random

    rows = reader(folder, {**ROW, "video": "walk.mp4"}, {**ROW, "video": "run.mkv"}, frames=4).open()
    condition: Any = component("corruption", "reverse_frames")
    assert numbers_of(condition.apply(rows[0], Random(0), rows).images) == [17, 12, 7, 2]
    other: Any = component("corruption", "other_video")
    assert numbers_of(other.apply(rows[0], Random(0), rows).images) == [1, 3, 5, 7]


class Walks(VideoReader, TableReader):
    """A format of somebody else's."""

    title: ClassVar[str] = "walks"
    columns: ClassVar[tuple[str, ...]] = ("clip", "question", "good", "bad")

    def pairs(self, row: Row) -> Iterable[Pair]:
        yield Pair(asked(row["question"]), text(row["good"]), text(row["bad"]), videos=row["clip"])


def test_a_format_of_a_third_party_may_have_videos(folder: Path) -> None:
    row = {"clip": "walk.mp4", "question": "What happens?", "good": "It grows.", "bad": "It shrinks."}
    (folder / "rows.jsonl").write_text(json.dumps(row))
    [found] = Walks(path=str(folder / "rows.jsonl"), images=folder, fps=1).open()
    assert (found.prompt, found.videos) == ((Turn("user", "<image><image>\nWhat happens?"),), (range(2),))
    assert numbers_of(found.images) == [0, 10]


@pytest.mark.parametrize("embedded", ["video", "picture"])
def test_an_embedded_video_or_picture_beside_one_cannot_be_written_again(embedded: str, folder: Path) -> None:
    boat = {"bytes": (folder / "boat.png").read_bytes(), "path": None}
    content = (folder / "walk.mp4").read_bytes()
    row = {"prompt": "<image><video>", "video": "walk.mp4", "boat": boat}
    if embedded == "video":
        row |= {"boat": "boat.png", "video": content}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{**ROW, **row}]), folder / "rows.parquet")
    options = {"path": str(folder / "rows.parquet"), "images": folder, "image": "boat", "video": "video"}
    opened: Any = component("reader", "pairs", **options)
    rows = opened.open()
    assert rows[0].videos
    with pytest.raises(DataError, match=r"row 1: cannot be written again: it has a video, which is embedded"):
        rows.as_stored.stored(0)


def test_the_files_of_a_video_are_noted(folder: Path) -> None:
    """A stored check of the data must not outlive a change of them."""
    with noted_files() as noted:
        reader(folder, {**ROW, "video": "walk.mp4"}).open()[0]
        reader(folder, {**ROW, "video": "steps"}, frames=1).open()[0]
        with pytest.raises(DataError, match="does not exist"):
            reader(folder, {**ROW, "video": "gone.mp4"}).open()[0]
    assert {str(folder / name) for name in ("walk.mp4", "steps", "steps/f7.png", "gone.mp4")} <= set(noted)


@pytest.mark.parametrize("empty", [[], ""])
def test_a_video_without_frames_is_a_bad_row_and_null_is_none(empty: Any, tmp_path: Path) -> None:
    row = {"prompt": "What?", "chosen": "Yes.", "rejected": "No."}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({**row, "video": video}) + "\n" for video in (None, empty)))
    rows = component("reader", "pairs", path=str(file), image=None, video="video").open()  # type: ignore[attr-defined]
    assert rows[0].videos == ()
    with pytest.raises(DataError, match="row 2: video: is a video without frames; write null for a row without one"):
        rows[1]


def test_an_empty_cell_of_csv_is_a_row_without_a_video(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected,video\nWhat?,Yes.,No.,\n")
    rows = component("reader", "pairs", path=str(tmp_path / "rows.csv"), image=None, video="video").open()  # type: ignore[attr-defined]
    assert rows[0].videos == ()
