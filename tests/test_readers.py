"""The pairs reader: every form of source, and everything that can be wrong with one."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from conftest import PROMPT
from datasets import Dataset, DatasetDict, Features, Image, Value

from mdpo_core import DataError, component

Row = dict[str, Any]
ROWS = [
    {"img_path": "00.jpg", "prompt": PROMPT, "chosen": "A temple.", "rejected": "A flower."},
    {"img_path": "11.png", "prompt": PROMPT, "chosen": "A flower.", "rejected": "A temple."},
]


def to_json(rows: list[Row], folder: Path) -> Path:
    file = folder / "pairs.json"
    file.write_text(json.dumps(rows))
    return file


def to_jsonl(rows: list[Row], folder: Path) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def to_parquet(rows: list[Row], folder: Path) -> Path:
    Dataset.from_list(rows).to_parquet(str(folder / "pairs.parquet"))
    return folder / "pairs.parquet"


def to_folder(rows: list[Row], folder: Path) -> Path:
    Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def to_split(rows: list[Row], folder: Path) -> Path:
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(folder / "splits"))
    return folder / "splits"


def read(path: Path, photographs: Path, **options: Any) -> Any:
    return component("reader", "pairs", path=str(path), images=photographs, **options).open()  # type: ignore[attr-defined]


def error(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("write", [to_json, to_jsonl, to_parquet, to_folder, to_split])
def test_every_form_of_source_gives_the_same_examples(write: Any, tmp_path: Path, photographs: Path) -> None:
    data = read(write(ROWS, tmp_path), photographs)
    assert [(row.id, row.prompt, dict(row.responses)) for row in data] == [
        (str(number + 1), PROMPT, {name: row[name] for name in ("chosen", "rejected")})
        for number, row in enumerate(ROWS)
    ]
    assert data[0].images[0].mode == "RGB"
    with PIL.Image.open(photographs / "11.png") as image:
        assert data[-1].images[0].size == image.size
    assert [row.id for row in pickle.loads(pickle.dumps(data))[0:2]] == ["1", "2"]
    with pytest.raises(IndexError):
        data[2]


def test_embedded_lists_and_absent_images_are_read(tmp_path: Path, photographs: Path) -> None:
    content = (photographs / "00.jpg").read_bytes()
    rows = [{**ROWS[0], "img_path": {"bytes": content, "path": None}}, {**ROWS[1], "img_path": None}]
    text = Value("string")
    features = Features({"img_path": Image(), "prompt": text, "chosen": text, "rejected": text})
    Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "embedded"))
    data = read(tmp_path / "embedded", photographs)
    with PIL.Image.open(io.BytesIO(content)) as image:
        assert data[0].images[0].tobytes() == image.convert("RGB").tobytes()
    assert data[1].images == ()
    several = [{**ROWS[0], "img_path": ["00.jpg", "11.png"]}]
    assert len(read(to_json(several, tmp_path), photographs)[0].images) == 2


def test_further_responses_columns_and_ids_are_named_by_options(tmp_path: Path, photographs: Path) -> None:
    rows = [{**row, "why": "Because.", "score": 0.5, "name": f"row-{place}"} for place, row in enumerate(ROWS)]
    options = {"responses": {"chosen": "chosen", "rationale": "why"}, "columns": ("score",), "id": "name"}
    row = read(to_json(rows, tmp_path), photographs, **options)[1]
    assert (row.id, row.responses["rationale"], row.columns) == ("row-1", "Because.", {"score": 0.5})


def test_a_changed_file_is_read_anew(tmp_path: Path, photographs: Path) -> None:
    read(to_json(ROWS, tmp_path), photographs)
    changed = [{**ROWS[0], "chosen": "Another answer, longer than before."}]
    assert read(to_json(changed, tmp_path), photographs)[0].responses["chosen"].startswith("Another")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("missing.jpg", "does not exist; is data.images the folder that paths start from?"),
        ("../escape.jpg", "'../escape.jpg' lies outside of data.images"),
        ("/etc/hostname", "'/etc/hostname' lies outside of data.images"),
        ("empty.jpg", "cannot be used: is an empty file"),
        ("truncated.jpg", "cannot be used: image file is truncated"),
        ("text.jpg", "cannot be used: is no image that Pillow can read"),
        ("link.jpg", "'link.jpg' lies outside of data.images"),
    ],
)
def test_an_unusable_image_is_named_with_row_and_reason(
    value: str, message: str, tmp_path: Path, photographs: Path
) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (root / "empty.jpg").touch()
    (root / "text.jpg").write_text("no picture")
    (root / "truncated.jpg").write_bytes((photographs / "00.jpg").read_bytes()[:5000])
    (root / "link.jpg").symlink_to(photographs / "00.jpg")
    data = read(to_json([ROWS[0], {**ROWS[0], "img_path": value}], tmp_path), root)
    found = error(lambda: data[1])
    assert found.startswith(f"{tmp_path / 'pairs.json'} row 2: img_path: ")
    assert message in found


def test_a_picture_large_enough_to_exhaust_the_memory_is_refused(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    data = read(to_json(ROWS, tmp_path), photographs)
    assert "decompression bomb" in error(lambda: data[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[]", "there are no rows"),
        ("{not json", "cannot be read as json"),
        (
            '[{"img_path": "00.jpg", "prompt": "x", "choosen": "A", "rejected": "B"}]',
            "no column 'chosen'; did you mean",
        ),
    ],
)
def test_an_unusable_file_is_named_with_the_reason(
    content: str, message: str, tmp_path: Path, photographs: Path
) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content)
    found = error(lambda: read(file, photographs))
    assert found.startswith(str(file))
    assert message in found


def test_a_column_of_another_type_is_named(tmp_path: Path, photographs: Path) -> None:
    data = read(to_json([{**ROWS[0], "chosen": 3}], tmp_path), photographs)
    assert "row 1: chosen: must be text, found 3" in error(lambda: data[0])
    data = read(to_json([{**ROWS[0], "score": "high"}], tmp_path), photographs, columns=("score",))
    assert "row 1: score: must be a number, found 'high'" in error(lambda: data[0])


def test_a_missing_source_is_named_with_the_nearest_there_is(tmp_path: Path, photographs: Path) -> None:
    to_json(ROWS, tmp_path)
    assert "did you mean" in error(lambda: read(tmp_path / "pair.json", photographs))
    assert "none that `datasets` saved" in error(lambda: read(tmp_path, photographs))
    assert "is no format of pairs" in error(lambda: read(photographs / "00.jpg", photographs))
    assert "give a local path" in error(lambda: read(Path("nobody/nothing"), photographs))
    assert "there is no split 'test'  (splits: train)" in error(
        lambda: read(to_split(ROWS, tmp_path), photographs, split="test")
    )
