"""Which bytes a picture was made of, and which files a row depends on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest
from PIL.Image import Image

from mdpo_core import DataError, ImageOptions, read_image
from mdpo_core.types.stored_bytes import note_file, noted_files, stored_digest


def content(color: str = "red", form: str = "PNG") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), color).save(file, form)
    return file.getvalue()


def digest(source: Path | bytes, **options: object) -> bytes:
    found = stored_digest(read_image(source, ImageOptions(**options)))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_digest_is_of_the_stored_bytes_and_the_ground(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content())
    assert digest(tmp_path / "a.png") == digest(content())
    others = [digest(content()), digest(content("blue")), digest(content(form="BMP")), digest(content() + b"x")]
    assert len({*others, digest(content(), background="black")}) == 5


CHANGES: dict[str, Callable[[Image], object]] = {
    "drawn on": lambda image: PIL.ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill="blue"),
    "pasted on": lambda image: image.paste((1, 2, 3), (0, 0, 4, 4)),
    "one pixel": lambda image: image.putpixel((0, 0), (1, 1, 1)),
    "made small": lambda image: image.thumbnail((8, 8)),
    "all pixels": lambda image: image.putdata([(1, 2, 3)] * 1200),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_picture_that_was_changed_has_no_digest(name: str) -> None:
    image = read_image(content())
    CHANGES[name](image)
    assert stored_digest(image) is None


def test_copies_and_other_pictures_have_no_digest() -> None:
    image = read_image(content())
    for other in (image.copy(), image.crop((0, 0, 9, 9)), image.rotate(90), PIL.Image.new("RGB", (4, 4))):
        assert stored_digest(other) is None
    assert stored_digest(image) is not None


def test_files_are_noted_in_order_even_if_they_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content())
    (tmp_path / "b.png").write_bytes(b"no picture")
    with noted_files() as found:
        read_image(tmp_path / "a.png")
        with pytest.raises(DataError):
            read_image(tmp_path / "b.png")
        with pytest.raises(DataError):
            read_image(tmp_path / "c.png")
        note_file(tmp_path)
        read_image(content())
    note_file(tmp_path / "later")
    assert list(found) == [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "c.png"), str(tmp_path)]
    assert found[str(tmp_path / "c.png")] == (-1, -1, -1)
    assert found[str(tmp_path / "b.png")][0] == len(b"no picture")
