"""Images of the pairs reader: whatever is in the file, an image in RGB or a reason."""

from __future__ import annotations

import io
import shutil
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_readers.cell_types import Cell
from mdpo_readers.images import images
from support.effort import num_examples

from mdpo_core import DataError, ImageOptions


def cell(value: Any) -> Cell:
    return Cell("row 2", "img_path", value)


def error(value: Any, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        images(cell(value), root)
    return str(caught.value)


@pytest.fixture(scope="module")
def damaged(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, none of which can be used but ``00.jpg``."""
    root = tmp_path_factory.mktemp("damaged")
    shutil.copy(photographs / "00.jpg", root)
    (root / "empty.jpg").touch()
    (root / "text.jpg").write_text("no picture")
    (root / "truncated.jpg").write_bytes((photographs / "00.jpg").read_bytes()[:5000])
    (root / "link.jpg").symlink_to(photographs / "00.jpg")
    (root / "circle.jpg").symlink_to(root / "circle.jpg")
    (root / "folder").mkdir()
    PIL.Image.new("F", (4, 4), 4000).save(root / "deep.tif")
    return root


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("missing.jpg", "missing.jpg' does not exist; is data.images ('"),
        ("folder", "folder' is a folder; name a picture in it"),
        ("../escape.jpg", "'../escape.jpg' lies outside of data.images"),
        ("/etc/hostname", "'/etc/hostname' lies outside of data.images"),
        ("link.jpg", "'link.jpg' lies outside of data.images"),
        ("circle.jpg", "must be the path of a file"),
        ("x" * 5000, "must be the path of a file"),
        ("a\0b.jpg", "must be the path of a file"),
        ("https://host/a.jpg", "is a web address; download the image"),
        ("empty.jpg", "cannot be used: it is empty"),
        ("truncated.jpg", "cannot be used: image file is truncated"),
        ("text.jpg", "cannot be used: it is not an image that Pillow can read"),
        (
            "deep.tif",
            "cannot be used: its pixels are floats from 4000 to 4000, and must lie from 0 (black) to 1 (white)",
        ),
        (["00.jpg", None], "must be a path, or an embedded image with its bytes, found None"),
        ({"width": 3}, "must be a path, or an embedded image with its bytes, found {'width': 3}"),
    ],
)
def test_an_unusable_image_is_named_with_the_reason(value: Any, message: str, damaged: Path) -> None:
    found = error(value, damaged)
    assert found.startswith("row 2: img_path: ")
    assert message in found
    assert len(found) < 500


@pytest.mark.parametrize("value", [None, "", []])
def test_a_row_may_be_without_images(value: Any, photographs: Path) -> None:
    assert images(cell(value), photographs) == ()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_images_of_every_8_bit_mode_become_rgb(mode: str, photographs: Path, tmp_path: Path) -> None:
    with PIL.Image.open(photographs / "00.jpg") as image:
        image.convert(mode).save(tmp_path / "image.tif")
    (found,) = images(cell("image.tif"), tmp_path)
    assert (found.mode, found.size) == ("RGB", image.size)
    pixels = found.convert("L").tobytes()
    assert min(pixels) < 64
    assert max(pixels) > 192


def test_an_image_large_enough_to_exhaust_the_memory_is_refused(photographs: Path) -> None:
    with PIL.Image.open(photographs / "00.jpg") as image:
        pixels = image.width * image.height
    for limit in (pixels // 3, pixels - 1):  # Pillow's error, and its mere warning
        words = rf"^row 2: img_path: .* {pixels} pixels, more than .*max_pixels = {limit}, .*decompression bomb"
        with pytest.raises(DataError, match=words):
            images(cell("00.jpg"), photographs, ImageOptions(max_pixels=limit))
    assert images(cell("00.jpg"), photographs, ImageOptions(max_pixels=pixels))


@pytest.fixture(scope="module")
def encodings(photographs: Path) -> list[bytes]:
    """One small photograph in several formats."""
    found = []
    with PIL.Image.open(photographs / "00.jpg") as image:
        for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
            file = io.BytesIO()
            image.resize((24, 16)).save(file, form)
            found.append(file.getvalue())
    return found


@settings(deadline=None, max_examples=num_examples(60, 200))
@given(data=st.data())
def test_damaged_file_gives_an_image_or_a_data_error(data: st.DataObject, encodings: list[bytes]) -> None:
    content = bytearray(data.draw(st.sampled_from(encodings)))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    kept = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    with warnings.catch_warnings():
        # What Pillow says of odd headers that it can live with.
        warnings.simplefilter("ignore", UserWarning)
        try:
            (image,) = images(cell({"bytes": bytes(kept), "path": None}), Path())
        except DataError:
            return
    assert image.mode == "RGB"


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from(["..", ".", "root", "sub", "up", "image.png", ""]), max_size=6))
def test_no_path_reads_an_image_outside_of_the_root(parts: list[str], fenced: Path) -> None:
    """Inside of the root images are red, outside blue."""
    try:
        found = images(cell("/".join(parts)), fenced / "root")
    except DataError:
        return
    assert all(image.getpixel((0, 0)) == (255, 0, 0) for image in found)


@pytest.fixture(scope="module")
def fenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fenced")
    (folder / "root" / "sub").mkdir(parents=True)
    (folder / "root" / "up").symlink_to(folder)
    PIL.Image.new("RGB", (2, 2), "blue").save(folder / "image.png")
    for inside in (folder / "root", folder / "root" / "sub"):
        PIL.Image.new("RGB", (2, 2), "red").save(inside / "image.png")
    return folder


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snapshot of a data set in a cache of the hub; its images are red, those of another data set are blue."""
    cache = tmp_path_factory.mktemp("hub")
    for name, color in (("y", "red"), ("z", "blue")):
        repository = cache / f"datasets--x--{name}"
        for folder in ("blobs/folder", "refs", "snapshots/abc/images/deep", "snapshots/def"):
            (repository / folder).mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc")
        for file in ("blobs/1234", "blobs/folder/1234", "snapshots/def/other.png"):
            PIL.Image.new("RGB", (2, 2), color).save(repository / file, "PNG")
        (repository / "snapshots" / "abc" / "top.png").symlink_to("../../blobs/1234")
        (repository / "snapshots" / "abc" / "images" / "deep" / "a.png").symlink_to("../../../../blobs/1234")
    found = huggingface_hub.scan_cache_dir(cache)
    assert {repository.repo_id: len(repository.revisions) for repository in found.repos} == {"x/y": 2, "x/z": 2}
    return cache / "datasets--x--y" / "snapshots" / "abc"


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(("root", "path"), [("", "top.png"), ("", "images/deep/a.png"), ("images", "deep/a.png")])
def test_images_of_a_hub_snapshot_are_links_to_its_blobs(
    root: str, path: str, linked: bool, snapshot: Path, tmp_path: Path
) -> None:
    if linked:
        (tmp_path / "data").symlink_to(snapshot)
    folder = (tmp_path / "data" if linked else snapshot) / root
    assert images(cell(path), folder)[0].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "target",
    [
        "../../../datasets--x--z/blobs/1234",
        "../../../datasets--x--z/snapshots/abc/top.png",
        "../def/other.png",
        "../../refs/main",
        "../../blobs/folder/1234",
    ],
)
def test_a_link_of_a_hub_snapshot_to_anything_else_is_refused(target: str, snapshot: Path) -> None:
    assert (snapshot / target).exists()
    (snapshot / "link.png").symlink_to(target)
    try:
        assert "'link.png' lies outside of data.images" in error("link.png", snapshot)
    finally:
        (snapshot / "link.png").unlink()


@pytest.mark.parametrize("path", ["../../blobs/1234", "images/../../../blobs/1234", "../abc/top.png"])
def test_a_path_that_climbs_to_the_blobs_is_refused(path: str, snapshot: Path) -> None:
    for found in (path, str(snapshot / path)):
        assert "lies outside of data.images" in error(found, snapshot)


def test_folders_named_as_in_the_cache_are_not_a_repository(tmp_path: Path) -> None:
    for folder in ("mine/blobs", "mine/snapshots/abc"):
        (tmp_path / folder).mkdir(parents=True)
    PIL.Image.new("RGB", (2, 2)).save(tmp_path / "mine" / "blobs" / "1234", "PNG")
    (tmp_path / "mine" / "snapshots" / "abc" / "a.png").symlink_to("../../blobs/1234")
    assert "lies outside of data.images" in error("a.png", tmp_path / "mine" / "snapshots" / "abc")
