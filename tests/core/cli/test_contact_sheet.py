"""`mdpo corruptions IMAGE --out FILE`."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import PIL.Image
import pytest
from PIL.Image import Image
from pydantic import model_validator
from support.corrupting import image_corruptions, photograph

from mdpo_core import DataError, ImageCorruption, hookimpl
from mdpo_core.cli import main
from mdpo_core.cli.contact_sheet import Labelled, contact_sheet, write_contact_sheet
from mdpo_core.registry.discovery import Registry, current_registry, use_registry

COLORS = ["red", "lime", "blue", "yellow", "magenta"]


def mdpo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mdpo_core.cli", *words], capture_output=True, text=True)


def box(sheet: Image, color: str) -> tuple[int, int, int, int]:
    """Where pixels of one colour are: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(sheet) == PIL.Image.new("RGB", (1, 1), color).getpixel((0, 0))).all(-1))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.parametrize("ending", ["png", *(pytest.param(each, marks=pytest.mark.long) for each in ("jpg", "webp"))])
def test_command_draws_and_names_all_image_corruptions(ending: str, tmp_path: Path) -> None:
    photograph().save(tmp_path / "photograph.png")
    out = tmp_path / f"sheet.{ending}"
    done = mdpo("corruptions", str(tmp_path / "photograph.png"), "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in image_corruptions())
    with PIL.Image.open(out) as sheet:
        assert min(sheet.size) > 500


@pytest.mark.parametrize("size", [(320, 213), (213, 320), (1, 1), (3, 500), (500, 3), (60, 60)])
def test_pictures_of_any_shape_are_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    photograph(*size).save(tmp_path / "picture.png")
    drawn = write_contact_sheet(tmp_path / "picture.png", tmp_path / "sheet.png")
    assert (drawn.names, drawn.failed) == (image_corruptions(), {})
    assert sorted([*drawn.names, *drawn.others]) == sorted(current_registry().components("corruption"))
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert max(sheet.size) < 3 * min(sheet.size)


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (50, 50), (300, 20)])
def test_pictures_stand_in_rows_apart_from_one_another_and_whole(size: tuple[int, int]) -> None:
    sheet = contact_sheet([Labelled(PIL.Image.new("RGB", size, color), color, ["x 1"] * 3) for color in COLORS])
    boxes = [box(sheet, color) for color in COLORS]
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert (right - left + 1) / (bottom - top + 1) == pytest.approx(size[0] / size[1], rel=0.05)
        for other in boxes[number + 1 :]:
            assert other[0] > right or other[2] < left or other[1] > bottom or other[3] < top
    assert [(top, left) for left, top, *_ in boxes] == sorted((top, left) for left, top, *_ in boxes)


def test_below_each_picture_stand_its_name_and_options() -> None:
    def lines(name: str, options: list[str]) -> int:
        sheet = np.asarray(contact_sheet([Labelled(PIL.Image.new("RGB", (240, 100), "red"), name, options)]))
        dark = (sheet[115:].max(-1) < 200).any(1)
        return int(np.count_nonzero(np.diff(dark.astype(int)) == 1))

    assert lines("", []) == 0
    assert lines("name", []) == 1
    assert lines("name", ["size 1", "rim 2"]) == 3


def test_contact_sheet_fades_corruptions_one_picture_cannot_show(tmp_path: Path) -> None:
    """A corruption that one picture cannot show stands faded behind the rest."""
    PIL.Image.new("RGB", (50, 50), "red").save(tmp_path / "red.png")
    drawn = write_contact_sheet(tmp_path / "red.png", tmp_path / "sheet.png")
    assert {"no_image", "region_mask", "region_noise"} <= set(drawn.others)
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        faded = np.asarray(sheet) == PIL.Image.blend(*(PIL.Image.new("RGB", (1, 1), c) for c in ("red", "white")), 0.85)
    assert faded.all(-1).sum() == len(drawn.others) * 240**2


def test_same_seed_draws_same_sheet_and_another_seed_another(tmp_path: Path) -> None:
    photograph().save(tmp_path / "photograph.png")
    sheets = []
    for number, seed in enumerate((0, 0, 1)):
        write_contact_sheet(tmp_path / "photograph.png", tmp_path / f"{number}.png", seed)
        sheets.append((tmp_path / f"{number}.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


@contextmanager
def offered(**corruptions: type[ImageCorruption]) -> Iterator[None]:
    """As if a plugin with these were installed."""

    class Plugin:
        @hookimpl
        def mdpo_components(self) -> dict[str, type[ImageCorruption]]:
            return corruptions

    before, registry = current_registry(), Registry.discover()
    registry.register(Plugin(), "theirs")
    use_registry(registry)
    try:
        yield
    finally:
        use_registry(before)


def test_contact_sheet_names_failing_corruption_and_draws_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(ImageCorruption):
        """Raises."""

        def __call__(self, image: Image, rng: random.Random) -> Image:
            raise ValueError("no luck")

    class Nothing(ImageCorruption):
        """Returns nothing."""

        def __call__(self, image: Image, rng: random.Random) -> Image:
            return None  # type: ignore[return-value]

    class Unmade(Nothing):
        """Raises when it is made."""

        def model_post_init(self, context: object) -> None:
            raise RuntimeError("no parts")

    photograph(60, 40).save(tmp_path / "photograph.png")
    with offered(failing=Failing, nothing=Nothing, unmade=Unmade):
        registry = current_registry()
        monkeypatch.setattr(Registry, "discover", lambda without=(): registry)
        command = ["corruptions", str(tmp_path / "photograph.png"), "--out", str(tmp_path / "sheet.png")]
        assert main(command) == 1
    told = capsys.readouterr()
    assert told.err == (
        "the corruption 'failing' fails: ValueError: no luck\n"
        "the corruption 'nothing' fails: TypeError: it must return a PIL image; it returned NoneType\n"
        "the corruption 'unmade' fails: RuntimeError: no parts\n"
    )
    assert f"under {', '.join(image_corruptions())}\n" in told.out
    assert "failing" not in told.out
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 500


def test_a_photograph_is_not_replaced_by_its_sheet(tmp_path: Path) -> None:
    photograph(60, 40).save(tmp_path / "photograph.png")
    (tmp_path / "link.png").symlink_to("photograph.png")
    content = (tmp_path / "photograph.png").read_bytes()
    for out in ("photograph.png", "link.png"):
        with pytest.raises(DataError, match=f"{out}: this is the picture itself, and the sheet would replace it"):
            write_contact_sheet(tmp_path / "photograph.png", tmp_path / out)
    assert (tmp_path / "photograph.png").read_bytes() == content


def test_a_corruption_that_somebody_installs_is_drawn_too(tmp_path: Path) -> None:
    photograph().save(tmp_path / "photograph.png")

    class Red(ImageCorruption):
        """All red."""

        def __call__(self, image: Image, rng: random.Random) -> Image:
            return PIL.Image.new("RGB", image.size, "red")

    class Demanding(Red):
        """Cannot be made without being told how much."""

        amount: int

    class Undecided(Red):
        """Its options by themselves are fine."""

        low: float = 1.0
        high: float = 0.0

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.low > self.high:
                raise ValueError("low must be below high")
            return self

    with offered(all_red=Red, demanding=Demanding, undecided=Undecided):
        drawn = write_contact_sheet(tmp_path / "photograph.png", tmp_path / "new" / "sheet.png")
    assert "all_red" in drawn.names
    assert {"demanding", "undecided"} < set(drawn.others)
    with PIL.Image.open(tmp_path / "new" / "sheet.png") as sheet:
        left, top, right, bottom = box(sheet, "red")
    assert (right - left + 1, bottom - top + 1) == (240, 160)


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    photograph().save(tmp_path / "photograph.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "photograph.png").read_bytes()[:3000])
    for image, out, text in (
        ("missing.png", "sheet.png", "missing.png: the file does not exist"),
        ("text.png", "sheet.png", "text.png: cannot be read as an image"),
        ("cut.png", "sheet.png", "cut.png: cannot be read as an image"),
        ("photograph.png", "sheet", "sheet: --out needs the ending"),
        ("photograph.png", "sheet.docx", "sheet.docx: --out needs the ending"),
        (
            "photograph.png",
            "sheet.psd",
            "sheet.psd: --out needs the ending",
        ),  # Pillow reads these but cannot write them
    ):
        with pytest.raises(DataError, match=text):
            write_contact_sheet(tmp_path / image, tmp_path / out)
        assert not (tmp_path / out).exists()
    done = mdpo("corruptions", str(tmp_path / "text.png"), "--out", str(tmp_path / "sheet.png"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
