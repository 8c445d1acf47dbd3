"""SENTINEL's three layouts: what is published for LLaVA-1.5, for the other models, and what its generator writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml

from mdpo_core import Begun, DataError, Example, Turn, component
from mdpo_core.cli import main

PAIRS = [
    ("1", "Describe it.", "A boat lies at a pier.", "It is red.", "A man rows it."),
    ("1", "Describe it.", None, "A boat lies at a pier.", "A whale lies at a pier."),
    ("2", "Describe it in detail.", "Two cats sleep.", "One is grey.", "A dog barks."),
]
KEYS = ("question", "context", "y_win", "y_lose")
SIZES = {"1": (8, 6), "2": (6, 8)}


def keyed() -> Any:
    return {name: [dict(zip(KEYS, pair, strict=True)) for id, *pair in PAIRS if id == name] for name in ("2", "1")} | {
        "3": []
    }


def of_llamafactory() -> Any:
    return [
        {"instruction": f"<image>{question}", "context": context, "chosen": chosen, "rejected": rejected}
        | {"images": [f"/theirs/vg/{folder_of(id)}/{id}.jpg"]}
        for id, question, context, chosen, rejected in PAIRS
    ]


def of_generator() -> Any:
    return [
        {"image_id": id, "image_path": f"{folder_of(id)}/{id}.jpg", **dict(zip(KEYS, pair, strict=True))}
        for id, *pair in PAIRS
    ]


def folder_of(id: str) -> str:
    return {"1": "VG_100K", "2": "VG_100K_2"}[id]


def write(folder: Path, content: Any) -> Path:
    for id, size in SIZES.items():
        file = folder / folder_of(id) / f"{id}.jpg"
        file.parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", size).save(file)
    file = folder / "pairs.json"
    file.write_text(json.dumps(content, indent=4))
    return file


def read(folder: Path, content: Any, **options: Any) -> Sequence[Example]:
    options = {"path": str(write(folder, content)), "images": folder, **options}
    return component("reader", "sentinel", **options).open()  # type: ignore[attr-defined, no-any-return]


def bare(text: str) -> str:
    return text.removeprefix("<image>").removeprefix("\n")


@pytest.mark.parametrize("layout", [keyed, of_llamafactory, of_generator])
def test_every_layout_gives_the_pairs_that_the_authors_code_makes(layout: Any, tmp_path: Path) -> None:
    found = {
        (bare(row.prompt[0].text), row.begun, row.responses["chosen"], row.responses["rejected"], row.images[0].size)
        for row in read(tmp_path, layout())
        if isinstance(row.prompt[0], Turn) and row.num_marks == len(row.images) == 1
    }
    assert found == {
        (question, Begun(context or "", unfinished=True), chosen, rejected, SIZES[id])
        for id, question, context, chosen, rejected in PAIRS
    }


@pytest.mark.parametrize("layout", [keyed, of_llamafactory, of_generator])
def test_every_layout_is_recognized_with_the_line_that_reads_it(
    layout: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, layout())
    main(["data", str(file)])
    line = capsys.readouterr().out.splitlines()[0]
    options = yaml.safe_load(line)["data"]
    assert (options["reader"], options["path"], Path(options["images"])) == ("sentinel", str(file), tmp_path)


def test_a_slice_of_the_published_file_counts_its_pairs(tmp_path: Path) -> None:
    assert [row.begun for row in read(tmp_path, keyed(), split="train[1:]")] == [
        Begun("A boat lies at a pier.", unfinished=True),
        Begun("", unfinished=True),
    ]


def test_a_pair_of_the_published_file_is_named_by_its_image(tmp_path: Path) -> None:
    content = keyed()
    content["1"][1]["y_win"] = 3
    with pytest.raises(DataError, match=r"pairs\.json row 3, which is number 2 of '1': y_win: must be text, found 3"):
        read(tmp_path, content)[2]


def test_an_absolute_path_within_the_folder_of_pictures_stays_as_it_is(tmp_path: Path) -> None:
    content = of_generator()
    (tmp_path / "mine" / "VG_100K").mkdir(parents=True)
    PIL.Image.new("RGB", (5, 5)).save(tmp_path / "mine" / "VG_100K" / "1.jpg")
    content[0]["image_path"] = str(tmp_path / "mine" / "VG_100K" / "1.jpg")
    assert read(tmp_path, content)[0].images[0].size == (5, 5)


def test_a_picture_that_is_nowhere_is_named(tmp_path: Path) -> None:
    content = keyed()
    content["77"] = content.pop("2")
    with pytest.raises(DataError, match=r"key: '.*77\.jpg' does not exist; is data\.images"):
        read(tmp_path, content)[2]


def test_a_missing_column_is_one_of_the_layout_that_is_nearest(tmp_path: Path) -> None:
    content = of_llamafactory()
    for row in content:
        del row["chosen"]
    with pytest.raises(DataError, match="the column 'chosen' of SENTINEL is missing"):
        read(tmp_path, content)


def test_a_context_of_llamafactory_names_the_reader_that_knows_it(tmp_path: Path) -> None:
    file = write(tmp_path, of_llamafactory())
    columns = {"prompt": "instruction", "context": "context", "images": "images"}
    info = {"sentences": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    message = rf"sentences\.columns\.context: is read by .*: {{reader: sentinel, path: {file}, images: FOLDER}}"
    with pytest.raises(DataError, match=message):
        component("reader", "llamafactory", path=str(tmp_path), dataset="sentences").open()  # type: ignore[attr-defined]
