"""Faults of MMPR's meta file: each is named with the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, component

ROW = {"image": None, "question": "What?", "chosen": "Yes.", "rejected": "No."}
ENTRY = {"root": ".", "annotation": "rows.jsonl"}


def read(folder: Path, meta: dict[str, Any]) -> list[Any]:
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "rows.jsonl").write_text(json.dumps(ROW))
    return list(component("reader", "mmpr", path=str(folder / "meta.json"), images=folder).open())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "annotation": "meta.json"}, "own.annotation: '.*meta.json' is a meta file"),
        ({"root": "."}, "own.annotation: must be a path below data.images, found None"),
        ({**ENTRY, "annotation": 3}, "own.annotation: must be a path"),
        ({"annotation": "rows.jsonl"}, "own.root: must be a path below data.images, found None"),
        ({**ENTRY, "repeat_time": 10**9}, "own.repeat_time: must be a whole number from 1 to 1000"),
        ({**ENTRY, "repeat_time": 0}, "own.repeat_time: must be a whole number from 1 to 1000"),
    ],
)
def test_a_fault_of_an_entry_is_named(entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"meta.json: {message}"):
        read(tmp_path, {"own": entry})


def test_the_rows_of_a_meta_file_are_repeated(tmp_path: Path) -> None:
    assert [row.id for row in read(tmp_path, {"own": {**ENTRY, "repeat_time": 2}})] == ["own/1", "own/1#2"]


def test_a_meta_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"meta.json: cannot be read: Permission denied"):
        read(tmp_path, {"own": ENTRY})
