"""What is said of a picture that cannot be read: which of several, what its path names, on one line, no raw bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_readers.cell_types import Cell, MissingFile, shown
from mdpo_readers.images import images
from mdpo_readers.videos.cells import videos
from mdpo_readers.videos.sampling import Sampling

from mdpo_core import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    PIL.Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "dir.png").mkdir()
    return folder


def said(value: Any, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        images(Cell("rows.jsonl row 1", "image", value), folder)
    return str(caught.value)


def test_a_folder_is_no_missing_file(folder: Path) -> None:
    assert f"image: '{folder / 'dir.png'}' is a folder; name a picture in it" in said("dir.png", folder)


@pytest.mark.parametrize("address", ["file:///x/y.png", "FILE://x.png"])
def test_an_address_of_a_file_is_no_web_address(address: str, folder: Path) -> None:
    message = f"'{address}' is the address of a file; write its path below the folder data.images"
    assert message in said(address, folder)
    with pytest.raises(DataError, match="is the address of a file; write its path"):
        videos(Cell("row 1", "video", "file:///x.mp4"), folder, Sampling())


def test_other_addresses_are_of_the_web(folder: Path) -> None:
    assert "is a web address; download the image" in said("https://x.org/y.png", folder)


@pytest.mark.parametrize("bad", [None, 3, "gone.png", b"no picture", ""])
def test_one_of_several_pictures_is_named(bad: Any, folder: Path) -> None:
    assert said(["a.png", bad], folder).startswith("rows.jsonl row 1: image: picture 2 of 2: ")
    assert "picture 1" not in said([bad], folder)


def test_a_missing_picture_of_several_is_a_missing_file(folder: Path) -> None:
    with pytest.raises(MissingFile, match=r"picture 2 of 2: .*gone.png' does not exist"):
        images(Cell("row 1", "image", ["a.png", "gone.png"]), folder)


def test_a_frame_of_a_list_is_named_by_its_place_in_the_list(folder: Path) -> None:
    names = ["a.png"] * 5 + ["gone.png"] + ["a.png"] * 2
    with pytest.raises(MissingFile, match=r"video: picture 6 of 8: "):
        videos(Cell("row 1", "video", names), folder, Sampling(frames=4))


@given(st.text(st.sampled_from("ab\n\r\x1b\u2028\x85/"), max_size=9))
def test_a_problem_of_a_cell_is_one_line(name: str) -> None:
    for error in (Cell("row 1", "image", name).wrong(f"'{name}' is bad"), Cell("r", name, 0).must_be("text")):
        assert len(str(error).splitlines()) == 1


def test_a_path_with_a_line_break_is_said_on_one_line(folder: Path) -> None:
    assert "a\\nb.png' does not exist" in said("a\nb.png", folder)


@given(st.binary(min_size=21, max_size=300).map(lambda content: b"\x89PNG" + content))
def test_bytes_are_counted_and_not_shown(content: bytes) -> None:
    assert shown(content) == f"{len(content)} bytes"
    assert shown({"bytes": content}) == f"{{'bytes': {len(content)} bytes}}"
    assert shown([bytearray(content)]) == f"[{shown(content)}]"
