"""Names on the hub, with configuration and revision, and slices of splits; the hub is a folder here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from pydantic import ValidationError

from mdpo_core import DataError, Example, component

ROWS = [{"prompt": f"{number}?", "chosen": f"{number}", "rejected": "none"} for number in range(25)]


def read(path: Path | str, **options: Any) -> Sequence[Example]:
    given = {"image": None, **options}
    rows: Sequence[Example] = component("reader", "pairs", path=str(path), **given).open()  # type: ignore[attr-defined]
    return rows


def to_jsonl(rows: Sequence[dict[str, Any]], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of a hub with one data set, whose files lie in a folder."""
    asked: list[tuple[Any, ...]] = []
    to_jsonl(ROWS, tmp_path / "hub" / "hard" / "train.jsonl")

    def builder(name: str, config: str | None, revision: str | None) -> SimpleNamespace:
        asked.append((name, config, revision))
        files = {datasets.Split.TRAIN: [f"hf://datasets/{name}@abc/{config}/train.jsonl"]}
        return SimpleNamespace(config=SimpleNamespace(data_files=files))

    def download(repo: str, path: str, repo_type: str, revision: str) -> str:
        asked.append((repo, path, repo_type, revision))
        return str(tmp_path / "hub" / path)

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_a_configuration_and_a_revision_are_asked_of_the_hub(hub: list[tuple[Any, ...]]) -> None:
    rows = read("owner/pairs", config="hard", revision="v2", split="train[:40%]")
    assert [row.id for row in rows] == [str(number) for number in range(1, 11)]
    assert hub == [("owner/pairs", "hard", "v2"), ("owner/pairs", "hard/train.jsonl", "dataset", "abc")]


def test_files_that_were_downloaded_before_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("there is no network")

    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    with pytest.raises(DataError, match="the hub cannot load this name: there is no network"):
        read("owner/pairs")
    to_jsonl(ROWS, tmp_path / "snapshot" / "data" / "train-00000-of-00001.jsonl")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "snapshot"))
    assert len(read("owner/pairs")) == 25


def test_options_of_the_hub_are_refused_for_files(tmp_path: Path) -> None:
    file = to_jsonl(ROWS, tmp_path / "p.jsonl")
    for options in ({"config": "hard"}, {"revision": "v2"}):
        with pytest.raises(DataError, match=r"data.config and data.revision are for a name on the hub"):
            read(file, **options)


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        ("train[:10%]", range(2)),
        ("train[90%:]", range(22, 25)),
        ("train[10:20]", range(10, 20)),
        ("train[-3:]", range(22, 25)),
        ("train[20:100]", range(20, 25)),
        ("train[:]", range(25)),
    ],
)
def test_a_slice_has_the_rows_that_datasets_gives(split: str, numbers: range, tmp_path: Path) -> None:
    file = to_jsonl(ROWS, tmp_path / "p.jsonl")
    rows = read(file, split=split)
    assert [row.responses["chosen"] for row in rows] == [str(number) for number in numbers]
    own = datasets.load_dataset("json", data_files=str(file), split=split)
    assert [row["chosen"] for row in own] == [str(number) for number in numbers]


def test_a_bad_row_of_a_slice_keeps_its_place_in_the_file(tmp_path: Path) -> None:
    file = to_jsonl([*ROWS, {**ROWS[0], "chosen": 3}], tmp_path / "p.jsonl")
    with pytest.raises(DataError, match=r"p.jsonl row 26: chosen: must be text, found 3"):
        list(read(file, split="train[20:]"))


def test_a_slice_without_rows_is_named(tmp_path: Path) -> None:
    file = to_jsonl(ROWS, tmp_path / "p.jsonl")
    with pytest.raises(DataError, match=r"the slice train\[30:\] has none of the 25 rows"):
        read(file, split="train[30:]")


@pytest.mark.parametrize("split", ["train[", "train[:10%", "train[a:b]", "train[1]", "[:3]", "train[:200%]", ""])
def test_a_slice_that_is_not_understood_is_refused(split: str) -> None:
    with pytest.raises(ValidationError, match=r"a slice, such as train\[:10%\] or train\[100:200\]"):
        component("reader", "pairs", path="p.jsonl", split=split)
