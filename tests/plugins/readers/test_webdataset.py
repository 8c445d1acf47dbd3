"""Tar files of WebDataset, patterns with braces, and image folders."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pytest
from mdpo_readers.embedded import PICTURE_ENDINGS
from PIL import Image
from support.paths import DATA

from mdpo_core import DataError, Turn, component, read_image
from mdpo_core.testing import check_reader

FORMATS = DATA / "formats"
BOAT, CATS = ((FORMATS / "mdpo_release" / "images" / name).read_bytes() for name in ("boat.jpg", "cats.jpg"))
ROW = {"question": "What?", "chosen": "Yes.", "rejected": "No."}


def write_tar(file: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def sample(key: str, picture: bytes = BOAT, **changes: Any) -> list[tuple[str, bytes]]:
    return [(f"{key}.jpg", picture), (f"{key}.json", json.dumps({**ROW, **changes}).encode())]


def read(path: Any, reader: str = "rlaif_v", **options: Any) -> Any:
    return component("reader", reader, path=str(path), **options).open()  # type: ignore[attr-defined]


def error(path: Any, reader: str = "rlaif_v", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        list(read(path, reader, **options))
    return str(caught.value)


def test_shards_of_tar_files_are_read_by_a_named_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number in range(3):
        samples = [*sample(f"a/{number}0", chosen=f"{number}0"), *sample(f"a/{number}1", CATS, chosen=f"{number}1")]
        write_tar(tmp_path / f"shards-00{number}.tar", samples)
    path = tmp_path / "shards-{000..002}.tar"
    check_reader(component("reader", "rlaif_v", path=str(path)))
    for rows in (read(path), pickle.loads(pickle.dumps(read(path))), read(tmp_path / "*.tar"), read(tmp_path)):
        assert [row.responses["chosen"] for row in rows] == ["00", "01", "10", "11", "20", "21"]
        assert [row.images[0].size for row in rows] == [(24, 16), (20, 20)] * 3
        assert rows[0].prompt == (Turn("user", "<image>\nWhat?"),)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "shards-001.tar").unlink()
    assert f"{tmp_path}/shards-001.tar: the file or folder does not exist" in error(path)


def test_texts_and_several_pictures_of_a_sample_are_columns(tmp_path: Path) -> None:
    members = [
        ("k.0.jpg", BOAT),
        ("k.1.jpg", CATS),
        ("k.prompt.txt", b"A?"),
        ("k.chosen.txt", b"B"),
        ("k.rejected.txt", b"C"),
    ]
    [row] = read(write_tar(tmp_path / "a.tar", members), "trl")
    assert (row.prompt, row.responses) == ("<image><image>A?", {"chosen": "B", "rejected": "C"})
    assert [image.size for image in row.images] == [(24, 16), (20, 20)]
    [row] = read(
        write_tar(tmp_path / "b.tar", [("k.bad.jpg", CATS), *sample("k", prompt="<image>A?")]),
        "pairs",
        image="image",
        other_images={"bad": "bad"},
    )
    assert (row.images[0].size, row.other_images["bad"][0].size) == ((24, 16), (20, 20))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*sample("a"), ("b.json", b"{"), ("b.jpg", BOAT)], r"row 2 (b): json: cannot be read as json: Expecting"),
        ([("a.json", b"[1]"), ("a.jpg", BOAT)], "row 1 (a): json: cannot be read as json: [1] is not an object"),
        ([*sample("a"), *sample("b"), ("a.txt", b"x")], "the files of 'a' do not follow one another"),
        ([*sample("a"), *sample("a")], "contains a file of 'a' twice"),
        ([*sample("a", b"x")], "row 1 (a): image: an embedded image of 1 bytes cannot be used"),
        ([*sample("a"), ("a.chosen.txt", b"\xe9")], "row 1 (a): chosen.txt: is not UTF-8"),
        ([], "there are no rows"),
    ],
)
def test_a_bad_sample_is_named_with_its_file(members: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    assert message in error(write_tar(tmp_path / "a.tar", members))


PLAIN = json.dumps({"prompt": "A?", "chosen": "B", "rejected": "C"}).encode()


def picture(ending: str, size: tuple[int, int] = (9, 7)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size).save(content, Image.registered_extensions()[ending])
    return content.getvalue()


@pytest.mark.parametrize("ending", [".avif", ".ppm", ".tif", ".jp2", ".jfif", ".PNG", ".bmp", ".webp"])
def test_pictures_of_all_endings_are_read(ending: str, tmp_path: Path) -> None:
    [row] = read(write_tar(tmp_path / "a.tar", [("a.json", PLAIN), (f"a{ending}", picture(ending.lower()))]), "trl")
    assert row.images[0].size == (9, 7)
    unread = [("a.json", PLAIN), ("a.jpg", BOAT), (f"a.left{ending}", picture(ending.lower()))]
    assert "left: holds a picture that nothing reads" in error(write_tar(tmp_path / "b.tar", unread), "trl")


def test_the_endings_of_pictures_are_those_of_all_formats_that_are_read() -> None:
    Image.init()
    with pytest.raises(DataError) as caught:
        read_image(b"no picture")
    formats = str(caught.value).rpartition("read as ")[2].split(", ")
    endings = {ending[1:] for ending, kind in Image.registered_extensions().items() if kind in formats}
    assert {"jpg", "avif", "ppm", "jp2"} <= endings <= {*PICTURE_ENDINGS}


def test_a_video_is_a_column(tmp_path: Path) -> None:
    stored = b"\0\0\0\x20ftypisom"
    file = write_tar(tmp_path / "a.tar", [("a.json", PLAIN), ("a.mp4", stored), ("a.side.webm", stored)])
    assert "side: holds a video that nothing reads" in error(
        file, "pairs", image=None, video="video", marks="first", frames=2
    )
    assert "video: holds a video that nothing reads" in error(file, "trl")


def test_the_videos_of_a_row_are_read(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from support.videos import write_video

    one, two = (write_video(tmp_path / f"{count}.mp4", count).read_bytes() for count in (4, 6))
    options: dict[str, Any] = {"image": None, "marks": "first", "frames": 3}
    for video, members in (("video", [("a.mp4", one)]), ("videos", [("a.1.mp4", two), ("a.0.mkv", one)])):
        file = write_tar(tmp_path / f"{video}.tar", [("a.json", PLAIN), *members])
        [row] = read(file, "pairs", video=video, **options)
        assert len(row.images) == 3 * len(members)
        message = f"row 1 (a): {video}: holds a video that nothing reads: "
        assert message in error(file, "trl")
    assert "'path': 'a.mp4'" in error(tmp_path / "video.tar", "trl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.system", b"Be brief", "row 1 (a): system: holds a system prompt that nothing reads"),
        ("a.winner", b"rejected", "row 1 (a): winner: prefers 'rejected', and the recipe prefers 'chosen'"),
        ("a.zzz", BOAT, "row 1 (a): zzz: holds a picture that nothing reads"),
    ],
)
def test_a_file_of_any_other_kind_is_a_column(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    members = [("a.json", PLAIN), ("a.png", BOAT), (name, content)]
    assert message in error(write_tar(tmp_path / "a.tar", members), "trl")
    [row] = read(write_tar(tmp_path / "b.tar", [*members[:2], ("a.cls", b"3"), ("a.npy", b"\x93")]), "trl")
    assert row.responses == {"chosen": "B", "rejected": "C"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", BOAT), ("a.jpg", CATS)], "image: two files fill this column: 'a.png' and 'a.jpg'"),
        ([("a.0.png", BOAT), ("a.0.jpg", CATS)], "images: two files fill this column: 'a.0.png' and 'a.0.jpg'"),
        ([("a.prompt.txt", b"D?")], "prompt: two files fill this column: 'a.json' and 'a.prompt.txt'"),
        ([("a.meta.json", b'{"prompt": "D?"}')], "prompt: two files fill this column: 'a.json' and 'a.meta.json'"),
    ],
)
def test_two_files_of_one_column_are_named(members: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", [("a.json", PLAIN), *members])
    assert f"row 1 (a): {message}" in error(file, "trl")


def test_a_picture_beside_the_name_of_another_is_named(tmp_path: Path) -> None:
    named = [("x/a.jpg", BOAT), ("x/a.json", PLAIN[:-1] + b', "image": "z.png"}')]
    message = "image: two files fill this column: 'a.json' and 'a.jpg'"
    assert message in error(write_tar(tmp_path / "a.tar", named), "trl")
    named[1] = ("x/a.json", PLAIN[:-1] + b', "image": "train/a.jpg"}')  # says the same
    [row] = read(write_tar(tmp_path / "b.tar", [*named, ("x/a.meta.json", b'{"prompt": "A?"}')]), "trl")
    assert row.images[0].size == (24, 16)


def test_a_file_that_a_row_lacks_is_named(tmp_path: Path) -> None:
    whole = [("a.json", PLAIN), ("a.jpg", BOAT)]
    message = "row 2 (x/b): the file 'b.json' is missing"
    assert message in error(write_tar(tmp_path / "a.tar", [*whole, ("x/b.jpg", BOAT)]), "trl")
    message = "row 2 (x/b): the file 'b.jpg' is missing"
    assert message in error(write_tar(tmp_path / "b.tar", [*whole, ("x/b.json", PLAIN)]), "trl")
    said = [("x/b.json", PLAIN[:-1] + b', "image": null}')]
    rows = read(write_tar(tmp_path / "c.tar", [*whole, *said]), "trl")
    assert [len(row.images) for row in rows] == [1, 0]


@pytest.mark.parametrize("length", [1000, 1536, 2500, None])
def test_a_tar_file_that_was_cut_is_named(length: int | None, tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", [*sample("a"), *sample("b")])
    content = file.read_bytes()
    num_blocks = -(-len(content.rstrip(b"\0")) // 512)  # without the blocks of zeros at the end
    file.write_bytes(content[: length or 512 * num_blocks])
    assert "a.tar: cannot be read as tar: " in error(file)
    file.write_bytes(b"no tar" * 200)
    assert "a.tar: cannot be read as tar: " in error(file)


def test_braces_list_files(tmp_path: Path) -> None:
    for name in ("boats", "cats"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name, "chosen": "B", "rejected": "C"}))
    rows = read(tmp_path / "{cats,boats}.jsonl", "pairs", image=None)
    assert [row.prompt for row in rows] == ["cats", "boats"]
    assert "means no file: in {FROM..TO}, TO must not be below FROM" in error(tmp_path / "a{3..1}.jsonl", "pairs")
    assert "means more than 100000 files" in error(tmp_path / "a{0..9999999999}.jsonl", "pairs")


@pytest.mark.parametrize("path", ["imagefolder/train", "imagefolder_copy"])
def test_an_image_folder_needs_no_folder_of_images(path: str, tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "imagefolder" / "train", tmp_path / "imagefolder_copy" / "train")
    folder = (FORMATS if path == "imagefolder/train" else tmp_path) / path
    for reader, options in (("trl", {}), ("pairs", {"image": "image"})):
        rows = read(folder, reader, **options)
        assert [row.images[0].size for row in rows] == [(24, 16), (20, 20)]
        assert [row.num_marks for row in rows] == [1, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "row 1: file_name: '{folder}/gone.png' cannot be read: No such file"),
        ("../boat.png", "row 1: file_name: '../boat.png' lies outside of the image folder"),
        (3, "row 1: file_name: must be text, found 3"),
    ],
)
def test_a_picture_that_an_image_folder_lacks_is_named(name: Any, message: str, tmp_path: Path) -> None:
    row = {"file_name": name, "prompt": "A?", "chosen": "B", "rejected": "C"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert message.format(folder=tmp_path) in error(tmp_path, "trl")


def test_other_columns_of_file_names_are_pictures(tmp_path: Path) -> None:
    for name, content in (("a.jpg", BOAT), ("b.jpg", CATS)):
        (tmp_path / name).write_bytes(content)
    row = {
        "file_names": ["a.jpg", "b.jpg"],
        "bad_file_name": "b.jpg",
        "prompt": "<image><image>A?",
        "chosen": "B",
        "rejected": "C",
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    [example] = read(tmp_path, "pairs", image="images", other_images={"bad": "bad"})
    assert [image.size for image in example.images] == [(24, 16), (20, 20)]
    assert example.other_images["bad"][0].size == (20, 20)
