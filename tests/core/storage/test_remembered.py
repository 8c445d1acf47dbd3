"""A value that is computed once: kept for the same files, options, code and versions, and for nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, remembered
from mdpo_core.storage import check_key, manifest


@dataclass
class Counted:
    """Computes the number of its calls, and depends on a file, an option, the code of a module, and two versions."""

    folder: Path
    option: int = 1
    calls: list[int] = field(default_factory=list)

    def __call__(self) -> object:
        self.calls.append(len(self.calls))
        return {"calls": len(self.calls)}

    def value(self, name: str = "number", **changes: Any) -> object:
        given = {
            "files": [self.folder / "file"],
            "options": {"option": self.option},
            "code": [importlib.import_module("code_of_it").Class],
            "packages": ["torch"],
        }
        return remembered(name, self, **given | changes)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "file").write_text("one")
    write_code(tmp_path, "class Class: ...", monkeypatch)
    return Counted(tmp_path)


def write_code(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module as a new process finds it."""
    (folder / "code_of_it.py").write_text(code)
    monkeypatch.delitem(importlib.sys.modules, "code_of_it", raising=False)  # type: ignore[attr-defined]
    importlib.invalidate_caches()
    check_key._installed_code.cache_clear()


def kept(counted: Counted) -> list[Path]:
    return sorted((counted.folder / "cache" / "remembered").iterdir())


def test_a_value_is_computed_once(counted: Counted) -> None:
    assert [counted.value() for _ in range(3)] == [{"calls": 1}] * 3
    assert counted.calls == [0]


def newer_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = manifest.version_of
    monkeypatch.setattr(manifest, "version_of", lambda name: "99.0" if name == "torch" else version(name))


def inexact_times(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bytes, on a disk that does not tell."""
    state = check_key.state_of(str(folder / "file"))
    monkeypatch.setattr(check_key, "state_of", lambda path: state)
    (folder / "file").write_text("two")


CHANGES: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "a file": lambda folder, patch: (folder / "file").write_text("two"),
    "a file, with its old times": inexact_times,
    "no file": lambda folder, patch: (folder / "file").unlink(),
    "the code": lambda folder, patch: write_code(folder, "class Class: new = True", patch),
    "a version": newer_torch,
    "another cache": lambda folder, patch: patch.setenv("MDPO_CACHE", str(folder / "other")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_computed_again_after_a_change_of(name: str, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    counted.value()
    CHANGES[name](counted.folder, monkeypatch)
    assert [counted.value() for _ in range(2)] == [{"calls": 2}] * 2


@pytest.mark.parametrize("changes", [{"options": {"option": 2}}, {"files": []}, {"name": "other"}, {"packages": []}])
def test_it_is_computed_again_for(changes: dict[str, Any], counted: Counted) -> None:
    counted.value()
    assert counted.value(**changes) == {"calls": 2}
    assert counted.value() == {"calls": 1}


def test_an_error_is_not_kept(counted: Counted) -> None:
    def fails() -> object:
        raise DataError("unfit")

    for _ in range(2):
        with pytest.raises(DataError, match="unfit"):
            remembered("number", fails, files=[], options={}, code=[])
    assert not (counted.folder / "cache").exists()


def test_nothing_is_kept_for_code_that_nobody_can_read(counted: Counted) -> None:
    nowhere = type("Nowhere", (), {"__module__": "no_module_at_all"})
    assert [counted.value(code=[nowhere]) for _ in range(2)] == [{"calls": 1}, {"calls": 2}]


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-9], lambda text: "", lambda text: "[]", lambda text: text.replace("1}", "7}")]
)
def test_a_damaged_value_is_computed_again(damage: Callable[[str], str], counted: Counted) -> None:
    counted.value()
    (file,) = kept(counted)
    file.write_text(damage(file.read_text()))
    assert [counted.value() for _ in range(2)] == [{"calls": 2}] * 2


def test_the_value_of_another_key_is_not_taken(counted: Counted) -> None:
    counted.value()
    (one,) = kept(counted)
    counted.value(options={})
    (other,) = (file for file in kept(counted) if file != one)
    other.write_bytes(one.read_bytes())
    assert counted.value(options={}) == {"calls": 3}


def test_a_cache_that_cannot_be_written_costs_the_time_alone(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(counted.folder / "file"))
    assert [counted.value() for _ in range(2)] == [{"calls": 1}, {"calls": 2}]
