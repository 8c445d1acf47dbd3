"""The pairs reader: every form of source, and everything that can be wrong with one."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow  # type: ignore[import-untyped]  # it ships none
import pyarrow.parquet  # type: ignore[import-untyped]  # it ships none
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from support.pairs import PROMPT

from mdpo_core import DataError, Flag, component

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


def read(path: Path | str, photographs: Path, **options: Any) -> Any:
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
    for outside in (2, -3):
        with pytest.raises(IndexError):
            data[outside]


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
    for several in (["00.jpg", "11.png"], [{"bytes": content, "path": None}] * 2):
        table = Dataset.from_list([{**ROWS[0], "img_path": several}])
        table = table if several[0] == "00.jpg" else table.cast_column("img_path", List(Image()))
        table.to_parquet(str(tmp_path / "several.parquet"))
        assert len(read(tmp_path / "several.parquet", photographs)[0].images) == 2


def test_further_responses_columns_and_ids_are_named_by_options(tmp_path: Path, photographs: Path) -> None:
    rows = [{**row, "why": "Because.", "score": 0.5, "name": f"row-{place}"} for place, row in enumerate(ROWS)]
    options = {"responses": {"chosen": "chosen", "rationale": "why"}, "columns": ("score",), "id": "name"}
    row = read(to_json(rows, tmp_path), photographs, **options)[1]
    assert (row.id, row.responses["rationale"], row.columns) == ("row-1", "Because.", {"score": 0.5})


OTHERS = {
    "other_images": {"edited": "edited_path"},
    "other_prompts": {"second": "question"},
    "vectors": {"clip": "embedding"},
    "boxes": {"dogs": "dogs"},
}
MORE = {"edited_path": "11.png", "question": "<image>\nWhere?", "embedding": [1, 0.5], "dogs": [[0, 1, 30, 40.5]]}


@pytest.mark.parametrize("write", [to_json, to_parquet, to_folder])
def test_options_name_other_pictures_prompts_vectors_and_boxes(write: Any, tmp_path: Path, photographs: Path) -> None:
    row = read(write([{**ROWS[0], **MORE}], tmp_path), photographs, **OTHERS)[0]
    with PIL.Image.open(photographs / "11.png") as image:
        assert row.other_images == {"edited": (image.convert("RGB"),)}
    assert (row.other_prompts, row.vectors) == ({"second": "<image>\nWhere?"}, {"clip": (1.0, 0.5)})
    assert row.boxes == {"dogs": (((0.0, 1.0, 30.0, 40.5),),)}


def test_boxes_of_several_images_are_a_list_for_each(tmp_path: Path, photographs: Path) -> None:
    rows = [
        {**ROWS[0], "img_path": ["00.jpg", "11.png"], "dogs": [[], [[0, 0, 9, 9], [1, 1, 5, 5]]]},
        {**ROWS[0], "img_path": ["00.jpg"], "dogs": [[[0, 0, 9, 9]]]},
        {**ROWS[0], "img_path": ["00.jpg", "11.png"], "dogs": None},
        {**ROWS[0], "img_path": [], "dogs": []},
    ]
    data = read(to_json(rows, tmp_path), photographs, boxes=OTHERS["boxes"])
    assert [row.boxes["dogs"] for row in data] == [
        ((), ((0, 0, 9, 9), (1, 1, 5, 5))),
        (((0, 0, 9, 9),),),
        ((), ()),
        (),
    ]


def test_a_row_may_lack_pictures_and_vectors(tmp_path: Path, photographs: Path) -> None:
    """Whether it matters is for the recipe to say."""
    rows = [{**ROWS[0], **MORE}, {**ROWS[1], **MORE, "edited_path": None, "embedding": None}]
    row = read(to_json(rows, tmp_path), photographs, **OTHERS)[1]
    assert (row.other_images, row.vectors) == ({"edited": ()}, {"clip": ()})


@pytest.mark.parametrize("set_back", [False, True])
def test_a_changed_file_is_read_anew(set_back: bool, tmp_path: Path, photographs: Path) -> None:
    """Even when copying or unpacking has set the time of modification back."""
    for answer in ("One.", "Two."):
        file = to_json([{**ROWS[0], "chosen": answer}], tmp_path)
        if set_back:
            os.utime(file, (0, 0))
        assert read(file, photographs)[0].responses["chosen"] == answer


def test_a_path_may_hold_what_a_pattern_would(tmp_path: Path, photographs: Path) -> None:
    folder = tmp_path / "pairs [v2] *" / ".hidden"
    folder.mkdir(parents=True)
    assert len(read(to_json(ROWS, folder), photographs)) == 2


def test_a_hub_dataset_fetched_before_is_read_without_a_network(tmp_path: Path, photographs: Path) -> None:
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "owner___pairs-v1.5" / "default" / "0.0.0" / "0"
    saved = to_folder(ROWS, tmp_path)
    shutil.copytree(saved, cache)
    (cache / "data-00000-of-00001.arrow").rename(cache / "pairs-v1.5-train.arrow")
    description = json.loads((cache / "dataset_info.json").read_text())
    splits = {"train": {"name": "train", "num_examples": len(ROWS)}}
    description |= {"dataset_name": "pairs-v1.5", "config_name": "default", "splits": splits}
    (cache / "dataset_info.json").write_text(json.dumps(description))
    assert len(read("owner/pairs-v1.5", photographs)) == 2
    assert 'the hub cannot load this name: Unknown split "tset"' in error(
        lambda: read("owner/pairs-v1.5", photographs, split="tset")
    )


def test_a_format_and_columns_of_no_use_do_not_matter(tmp_path: Path, photographs: Path) -> None:
    table = Dataset.from_list([{**row, "extra": {"bytes": b"no image", "path": None}} for row in ROWS])
    table = table.cast_column("extra", Image())
    table.set_format("numpy", columns=["prompt"])
    table.save_to_disk(str(tmp_path / "formatted"))
    assert read(tmp_path / "formatted", photographs)[1].responses["chosen"] == "A flower."


def test_the_library_s_bars_and_log_lines_stay_away(
    tmp_path: Path,
    photographs: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("datasets"), "propagate", True)
    datasets.enable_progress_bars()
    read(to_json(ROWS, tmp_path), photographs)
    (tmp_path / "pairs.jsonl").write_text("not json")
    error(lambda: read(tmp_path / "pairs.jsonl", photographs))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert not datasets.are_progress_bars_disabled()


def test_options_say_which_pictures_are_read_and_on_which_ground(tmp_path: Path) -> None:
    PIL.Image.new("RGBA", (20, 10)).save(tmp_path / "clear.png")
    file = to_json([{**ROWS[0], "img_path": "clear.png"}], tmp_path)
    [row] = read(file, tmp_path, background="#102030", max_pixels=200, max_aspect_ratio=2)
    assert row.images[0].getcolors() == [(200, (16, 32, 48))]
    for option, value in (("max_pixels", 199), ("max_aspect_ratio", 1.9)):
        table = read(file, tmp_path, **{option: value})
        message = error(lambda table=table: table[0])  # type: ignore[misc]
        assert message.startswith(f"{file} row 1: img_path: '{tmp_path / 'clear.png'}' cannot be used: ")
        assert option in message


@pytest.mark.parametrize("name", ["no colour", "", "#fff0", "rgba(0, 0, 0, 0)"])
def test_a_background_that_is_no_opaque_colour_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="background"):
        component("reader", "pairs", path="pairs.json", background=name)


def test_an_unusable_image_is_named_with_file_row_and_column(tmp_path: Path, photographs: Path) -> None:
    file = to_json([ROWS[0], {**ROWS[0], "img_path": "missing.jpg"}], tmp_path)
    found = error(lambda: read(file, photographs)[1])
    assert found.startswith(f"{file} row 2: img_path: '{photographs / 'missing.jpg'}' does not exist")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty: write it again, or download it again"),
        ("[]", "there are no rows"),
        (" \n\n", "there are no rows"),
        ('[{"a": 1},\n {"a" 2}]', "pairs.json row 2: cannot be read as json: Expecting ':' delimiter in column 7"),
        (
            '{"a": 1}\n\n{"a" 2}\n',
            "pairs.json row 2, line 3: cannot be read as json: Expecting ':' delimiter in column 6",
        ),
        ('[{"a": "\udce9"}]', "pairs.json row 1: cannot be read as json: b'\\xe9' is not UTF-8"),
        (
            '{"a": 1}\n{"a": 2}\n{"a":\n{"a": 4}\n',
            "pairs.json row 3: cannot be read as json: Expecting value in column 6",
        ),
        ('{"a": 1}\r\n{"a": "cut\r\n', "pairs.json row 2: cannot be read as json: Unterminated string"),
        ('[{"a": 1},\n {"a":\n', "pairs.json row 2: cannot be read as json: Expecting value in column 7"),
        (
            '{"a": 1}\n\n[1, 2]\n',
            "pairs.json row 2, line 3: cannot be read as json: [1, 2] is not an object; rows are JSON objects",
        ),
        ('[1, 2]\n{"a": 1}\n', "pairs.json row 1: cannot be read as json: [1, 2] is not an object"),
        ('[{"a": 1}, "text"]', 'pairs.json row 2: cannot be read as json: "text" is not an object'),
        ("3", "3 is not an object; rows are JSON objects: one list of them, or one on each line"),
        (
            '[{"img_path": "00.jpg", "prompt": "x", "choosen": "A", "rejected": "B"}]',
            "the column 'chosen' is missing; did you mean",
        ),
    ],
)
def test_an_unusable_file_is_named_with_the_reason(
    content: str, message: str, tmp_path: Path, photographs: Path
) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    found = error(lambda: read(file, photographs))
    assert found.startswith(str(file))
    assert message in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edited_path": "none.png"}, "row 1: edited_path: '"),
        ({"question": None}, "row 1: question: must be text, found None"),
        ({"embedding": 1.5}, "row 1: embedding: must be a list of numbers, found 1.5"),
        ({"embedding": [1.0, None]}, "row 1: embedding[1]: must be a finite number, found None"),
        ({"dogs": "all"}, "row 1: dogs: must be a list of boxes, or a list of boxes for each image, found 'all'"),
        ({"dogs": [1, 2, 3, 4]}, "row 1: dogs[0]: must be a box: [left, top, right, bottom], in pixels, found 1"),
        (
            {"dogs": [[1, 2, 3]]},
            "row 1: dogs[0]: must be a box: [left, top, right, bottom], in pixels, found [1, 2, 3]",
        ),
        ({"dogs": [["a", "b", "c", "d"]]}, "row 1: dogs[0][0]: must be a finite number, found 'a'"),
        (
            {"dogs": [[5, 0, 5, 9]]},
            "row 1: dogs[0]: the box [5, 0, 5, 9] is empty; a box is [left, top, right, bottom]",
        ),
        ({"dogs": [[0, 0, 1, 1], [-1, 0, 5, 9]]}, "row 1: dogs[1]: the box [-1, 0, 5, 9] reaches beyond its image of"),
        ({"dogs": [[[0, 0, 1, 1]], [[0, 0, 1, 1]]]}, "row 1: dogs: contains boxes for 2 images, but the row has 1"),
    ],
)
def test_unusable_picture_prompt_vector_or_box_is_named(
    changes: Row, message: str, tmp_path: Path, photographs: Path
) -> None:
    """An unusable picture, prompt, vector or box is named with row and column."""
    data = read(to_json([{**ROWS[0], **MORE, **changes}], tmp_path), photographs, **OTHERS)
    assert message in error(lambda: data[0])


def test_boxes_of_one_image_in_a_row_with_two_say_how_to_write_more(tmp_path: Path, photographs: Path) -> None:
    two = {"img_path": ["00.jpg", "11.png"], "prompt": "<image><image>What?", "dogs": [[0, 0, 1, 1]]}
    found = error(lambda: read(to_json([{**ROWS[0], **MORE, **two}], tmp_path), photographs, **OTHERS)[0])
    assert "dogs: contains boxes for 1 image, but the row has 2; give a list of boxes for each image: [[[left," in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen": 3}, "row 1: chosen: must be text, found 3"),
        ({"chosen": ["x" * 5000]}, "row 1: chosen[0]: must be a chat message: {role, content}, found 'xxxx"),
        ({"score": "high"}, "row 1: score: must be a finite number, found 'high'; write a number, or remove the row"),
        ({"score": "1"}, "row 1: score: must be a finite number, found '1', a text; write it without quotation marks"),
        ({"score": None}, "row 1: score: must be a finite number, found None; write a number, or remove the row"),
        ({"name": None}, "row 1: name: must be text or a whole number, as the row's id, found None"),
        ({"name": " "}, "row 1: name: must be text or a whole number, as the row's id, found ' '"),
        ({"name": 1.5}, "row 1: name: must be text or a whole number, as the row's id, found 1.5"),
    ],
)
def test_a_value_of_another_type_is_named(changes: Row, message: str, tmp_path: Path, photographs: Path) -> None:
    row = {**ROWS[0], "score": 1, "name": 7, **changes}
    data = read(to_json([row], tmp_path), photographs, columns=("score",), id="name")
    found = error(lambda: data[0])
    assert message in found
    assert len(found) < 500


def test_a_row_of_a_table_that_cannot_be_read_is_named(tmp_path: Path, photographs: Path) -> None:
    texts = pyarrow.array([b"A.", b"Un caf\xe9", b"C."]).view(pyarrow.string())
    table = pyarrow.table({**{name: [row[name] for row in [*ROWS, ROWS[0]]] for name in ROWS[0]}, "chosen": texts})
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    data = read(tmp_path / "pairs.parquet", photographs)
    assert [data[row].responses["chosen"] for row in (0, 2)] == ["A.", "C."]
    found = error(lambda: data[1])
    text = "chosen: b'\\xe9' is not UTF-8; write the table again, in UTF-8"
    assert found == f"{tmp_path / 'pairs.parquet'} row 2: {text}"


@pytest.mark.parametrize("names", [["chosen", "chosen"], ["chosen", "x"]])
def test_an_unusable_table_is_named_in_one_line(names: list[str], tmp_path: Path, photographs: Path) -> None:
    """A column twice, or a kind of column that the library does not know."""
    columns = [pyarrow.array(["A"]), pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, names=names), tmp_path / "pairs.parquet")
    found = error(lambda: read(tmp_path / "pairs.parquet", photographs))
    assert found.startswith(f"{tmp_path / 'pairs.parquet'}: {names[-1]}: ")
    assert found.endswith((", or remove it", ", or remove the column"))
    assert "\n" not in found


def test_a_date_is_no_text(tmp_path: Path, photographs: Path) -> None:
    data = read(to_parquet([{**ROWS[0], "chosen": date(2026, 1, 31)}], tmp_path), photographs)
    assert "row 1: chosen: must be text (the column holds dates; write it as text), found" in error(lambda: data[0])


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_flags(value: bool, tmp_path: Path, photographs: Path) -> None:
    for name in (to_json, to_parquet):
        data = read(name([{**ROWS[0], "score": value}], tmp_path), photographs, columns=("score",))
        score = data[0].columns["score"]
        assert isinstance(score, Flag)
        assert score == value


def test_a_missing_column_of_numbers_suggests_no_other_reader(tmp_path: Path, photographs: Path) -> None:
    """Another reader gives other answers and pictures, but no number that the file lacks."""
    found = error(lambda: read(to_json(ROWS, tmp_path), photographs, columns=("score",)))
    assert "the column 'score' is missing" in found
    assert found.endswith("; add it to the data, or name a column that the data has in data.columns")


def test_a_missing_column_suggests_no_reader_that_gives_less(tmp_path: Path, photographs: Path) -> None:
    """The columns are also those of a format whose reader has no third answer."""
    rows = [{"image": "boat.png", "prompt": "What?", "chosen": "A", "rejected": "B", "third": "C"}]
    responses = {"chosen": "chosen", "rejected": "rejected", "third": "third"}
    found = error(lambda: read(to_json(rows, tmp_path), photographs, responses=responses))
    assert "the column 'img_path' is missing" in found
    assert found.endswith("; add it to the data, or name a column that the data has in data.image")
    assert "the columns are those of" in error(lambda: read(to_json(rows, tmp_path), photographs))


def test_infinity_is_no_score(tmp_path: Path, photographs: Path) -> None:
    data = read(to_parquet([{**ROWS[0], "score": float("inf")}], tmp_path), photographs, columns=("score",))
    assert "must be a finite number, found inf" in error(lambda: data[0])


def test_a_missing_source_is_not_taken_for_a_file_without_data(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "pairs.yaml").write_text("model: {}")
    assert "did you mean" not in error(lambda: read(tmp_path / "pairs.json", photographs))


def test_a_missing_source_is_named_with_the_nearest_there_is(tmp_path: Path, photographs: Path) -> None:
    file = to_json(ROWS, tmp_path)
    assert f"did you mean '{file}'?" in error(lambda: read(tmp_path / "pair.json", photographs))
    assert error(lambda: read(tmp_path / "quite_another.txt", photographs)).endswith(
        "the file or folder does not exist"
    )
    assert "is a folder without data" in error(lambda: read(photographs, photographs))
    assert "is not a supported format" in error(lambda: read(photographs / "00.jpg", photographs))
    assert "without a network, give the path" in error(lambda: read(Path("nobody/nothing-v1.5"), photographs))


def test_a_source_without_rows_is_refused(tmp_path: Path, photographs: Path) -> None:
    table = Dataset.from_list(ROWS)
    table.select([]).save_to_disk(str(tmp_path / "none"))
    assert error(lambda: read(tmp_path / "none", photographs)).endswith(": there are no rows")
    table.select([]).to_parquet(str(tmp_path / "none.parquet"))
    assert error(lambda: read(tmp_path / "none.parquet", photographs)).endswith(": there are no rows")
    # A file of rows that holds none, as other versions of the library leave it.
    folder = to_folder(ROWS, tmp_path)
    with pyarrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file:
        pyarrow.ipc.new_stream(file, table.data.schema).close()
    assert error(lambda: read(folder, photographs)).endswith(": there are no rows")


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, photographs: Path) -> None:
    assert "the split 'trian' does not exist; did you mean 'train'?  (splits: train)" in error(
        lambda: read(to_split(ROWS, tmp_path), photographs, split="trian")
    )
    assert "a file has no split 'test'" in error(lambda: read(to_json(ROWS, tmp_path), photographs, split="test"))


def test_missing_image_folder_is_named_once_before_any_row(tmp_path: Path, photographs: Path) -> None:
    wrong = photographs.with_name(photographs.name + "s")
    found = error(lambda: read(to_json(ROWS, tmp_path), wrong))
    assert found.splitlines() == [
        f"{tmp_path / 'pairs.json'}: data.images: the folder '{wrong}' does not exist; did you mean '{photographs}'?"
    ]


@pytest.mark.parametrize("part", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("content", [None, b"", b'{"_data', b"[]"])
def test_a_damaged_folder_of_datasets_is_named(
    part: str, content: bytes | None, tmp_path: Path, photographs: Path
) -> None:
    """A file of it is lost, emptied, cut, or something else."""
    file = to_folder(ROWS, tmp_path) / part
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert error(lambda: read(tmp_path / "saved", photographs)).startswith(str(tmp_path / "saved"))


def test_a_folder_of_datasets_that_lacks_a_key_is_named(tmp_path: Path, photographs: Path) -> None:
    (to_folder(ROWS, tmp_path) / "state.json").write_text("{}")
    assert "is a damaged folder of `datasets`: '_data_files'" in error(lambda: read(tmp_path / "saved", photographs))
