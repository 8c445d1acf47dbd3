"""A check that is done once: a second start and a resume decode nothing, and nothing that changed is trusted."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core import load_recipe
from mdpo_core.data.checking import CheckedData
from mdpo_core.data.pictures import images
from mdpo_core.data.reading import read_data
from mdpo_core.errors import Problem
from mdpo_core.storage.stored_checks import StoredChecks, from_bytes, to_bytes


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each picture that is decoded."""
    found: list[int] = []
    decode = images._decoded

    def counted(content: bytes, options: images.ImageOptions) -> object:
        found.append(len(content))
        return decode(content, options)

    monkeypatch.setattr(images, "_decoded", counted)
    return found


@pytest.fixture
def own(
    changes: list[str], pairs: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The changes of a small run over a copy of the rows and pictures, with a cache of its own."""
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(photographs, tmp_path / "pictures")
    shutil.copy(pairs, tmp_path / "rows.json")
    return [*changes, f"data.path={tmp_path / 'rows.json'}", f"data.images={tmp_path / 'pictures'}"]


def check(changes: list[str]) -> CheckedData:
    recipe = load_recipe(LLAVA_MDPO, changes)
    return read_data(recipe, store=StoredChecks(recipe))[0]


def stored(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "checked").iterdir())


def outcome(checked: CheckedData) -> tuple[object, ...]:
    return checked.rows, checked.lengths, checked.bad, checked.digest, checked.keys, checked.sources


def test_a_second_check_decodes_nothing_and_finds_the_same(own: list[str], decoded: list[int], tmp_path: Path) -> None:
    first = check(own)
    assert len(decoded) == 11  # ten rows, and the first one as training encodes it
    second = check([*own, "train.epochs=9", "objective.0.beta=0.3"])
    assert len(decoded) == 11
    assert outcome(second) == outcome(first)
    assert len(from_bytes(stored(tmp_path)[0].read_bytes())[0].files) == 8
    assert len(stored(tmp_path)) == 1


def test_another_corruption_is_tried_on_one_row_alone(own: list[str], decoded: list[int]) -> None:
    check(own)
    for _ in range(2):
        check([*own, "corruptions.crop.area=[0.3, 0.4]"])
        assert len(decoded) == 12


CHANGES: dict[str, Callable[[Path], object]] = {
    "a picture": lambda folder: (folder / "pictures" / "00.jpg").write_bytes(
        (folder / "pictures" / "10.jpg").read_bytes()
    ),
    "a picture, with its old time": lambda folder: _with_old_time(folder / "pictures" / "00.jpg"),
    "the rows": lambda folder: (folder / "rows.json").write_text(
        (folder / "rows.json").read_text().replace("Green", "Brown")
    ),
    "the order of the rows": lambda folder: (folder / "rows.json").write_text(
        json.dumps(json.loads((folder / "rows.json").read_text())[::-1])
    ),
}


def _with_old_time(file: Path) -> None:
    state = file.stat()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("name", CHANGES)
def test_changed_files_are_checked_again(name: str, own: list[str], tmp_path: Path) -> None:
    before = check(own)
    CHANGES[name](tmp_path)
    after = check(own)
    assert after.digest != before.digest
    assert outcome(after) == outcome(read_data(load_recipe(LLAVA_MDPO, own))[0])


@pytest.mark.parametrize("option", ["model.max_length=512", "data.background=black", "data.max_pixels=20000000"])
def test_other_options_are_checked_again(option: str, own: list[str], decoded: list[int]) -> None:
    check(own)
    check([*own, option])
    assert len(decoded) == 22


def test_a_missing_picture_that_appears_is_noticed(own: list[str], tmp_path: Path) -> None:
    (tmp_path / "pictures" / "00.jpg").rename(tmp_path / "aside.jpg")
    own = [*own, "data.bad_rows=quarantine"]
    before = check(own)
    assert before.num_bad == 2
    assert outcome(check(own)) == outcome(before)
    (tmp_path / "aside.jpg").rename(tmp_path / "pictures" / "00.jpg")
    assert check(own).num_bad == 0


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-9],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "another file": lambda content: b"{}" * 100,
    "no digest": lambda content: content.replace(b"sha256", b"sha257"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_result_is_not_trusted(
    name: str, own: list[str], decoded: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = check(own)
    (file,) = stored(tmp_path)
    file.write_bytes(DAMAGE[name](file.read_bytes()))
    assert outcome(check(own)) == outcome(before)
    assert len(decoded) == 22
    assert f"{file} is damaged" in caplog.text
    assert "so the data are checked again" in caplog.text
    check(own)
    assert len(decoded) == 22


def test_the_result_of_another_check_is_not_taken(own: list[str], tmp_path: Path) -> None:
    """Somebody renames a file in the cache, or copies one from another run."""
    check([*own, "model.max_length=512"])
    (other,) = stored(tmp_path)
    whole = check(own)
    (file,) = (each for each in stored(tmp_path) if each != other)
    checked, key = from_bytes(other.read_bytes())
    file.write_bytes(to_bytes(replace(checked, rows=checked.rows[:3], lengths=checked.lengths[:3]), key))
    assert outcome(check(own)) == outcome(whole)


def test_a_cache_that_cannot_be_written_is_a_warning(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(check(own).rows) == 10
    assert "the data are checked again at the next start (MDPO_CACHE names the folder)" in caplog.text


def test_all_that_was_found_is_read_again() -> None:
    bad = {3: [Problem("a row 4", "x", "is bad\u2028"), Problem("", "", "twice")]}
    files = {"/a\udcff": (1, 2**62, 3), "/b": (-1, -1, -1)}
    keys, sources = [b"p" * 16, b"", b"i" * 32], ["b", "a", "b"]
    checked = CheckedData((), [0, 2**40, 5], [5, 6, 7], bad, "d", keys, sources, files=files, tried="tried")
    assert from_bytes(to_bytes(checked, "key")) == (checked, "key")
    assert from_bytes(to_bytes(CheckedData(()), "")) == (CheckedData(()), "")


def test_held_out_rows_are_checked_once_with_the_others(own: list[str], decoded: list[int], tmp_path: Path) -> None:
    first = check([*own, "data.hold_out={rows: 3}"])
    assert len(decoded) == 12
    second = check([*own, "data.hold_out={rows: 3}"])
    assert len(decoded) == 12
    assert first.held_out is not None
    assert second.held_out is not None
    assert (outcome(second), outcome(second.held_out)) == (outcome(first), outcome(first.held_out))
    check([*own, "data.hold_out={rows: 4}"])
    assert len(decoded) == 14  # the same rows, but the first of each part may be another
    assert len(stored(tmp_path)) == 1


def test_validation_is_checked_once_too(own: list[str], decoded: list[int], pairs: Path, photographs: Path) -> None:
    own = [*own, f"validation={{reader: pairs, path: {pairs}, images: {photographs}}}"]
    first = check(own)
    assert len(decoded) == 22
    second = check(own)
    assert len(decoded) == 22
    assert second.held_out is not None
    assert first.held_out is not None
    assert outcome(second.held_out) == outcome(first.held_out)
    assert len(first.stored) == 2


def test_a_cache_that_cannot_be_looked_into_is_no_cache(
    own: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MDPO_CACHE", "/" + "x" * 5000)  # as unreadable as a folder without permission
    assert len(check(own).rows) == 10
    assert "the data are checked again (MDPO_CACHE names the folder)" in caplog.text


def test_a_user_without_a_home_has_no_cache(
    own: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MDPO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert len(check(own).rows) == 10
    assert "name a folder in MDPO_CACHE" in caplog.text
