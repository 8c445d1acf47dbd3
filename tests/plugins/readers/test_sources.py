"""Where rows come from: packed files, tables of text, patterns, lists and folders of shards."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow
import pytest
from datasets import Dataset, Features, Image, List, Value, load_dataset
from mdpo_readers.tables.files import open_files
from mdpo_readers.tables.files.parquet_table import PictureColumns
from pyarrow import parquet
from support.paths import DATA

from mdpo_core import DataError, Example, component

PLAIN = DATA / "formats" / "plain_files"
ROWS = [{"prompt": f"Number {number}?", "chosen": f"{number}", "rejected": "none"} for number in range(6)]


def read(path: Path | str | Sequence[str], **options: Any) -> Sequence[Example]:
    given = path if isinstance(path, list) else str(path)
    rows: Sequence[Example] = component("reader", "pairs", path=given, **{"image": None, **options}).open()  # type: ignore[attr-defined]
    return rows


def error(path: Path | str | Sequence[str], **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        list(read(path, **options))
    return str(caught.value)


def to_jsonl(rows: Sequence[dict[str, Any]], file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    "name", ["pairs.csv", "pairs.tsv", "pairs.jsonl.gz", "pairs.ndjson", "pairs_bom.jsonl", "saved"]
)
def test_the_same_rows_come_from_every_kind_of_file(name: str) -> None:
    expected = json.loads((PLAIN / "expected.json").read_text())
    rows = read(PLAIN / name, image="image", images=PLAIN)
    for row, pair in zip(rows, [expected["first"], *expected["others"]], strict=True):
        assert row.prompt == pair["prompt"][0]["content"]
        assert row.responses == {"chosen": pair["chosen"], "rejected": pair["rejected"]}
        assert [list(image.size) for image in row.images] == pair["image_sizes"]


def test_an_image_folder_is_read_from_its_metadata() -> None:
    folder = DATA / "formats" / "imagefolder" / "train"
    rows = read(folder, image="file_name", images=folder)
    assert [row.images[0].size for row in rows] == [(24, 16), (20, 20)]


def shards(folder: Path, count: int = 3) -> list[Path]:
    return [to_jsonl(ROWS[2 * n : 2 * n + 2], folder / f"train-{n:05}-of-{count:05}.jsonl") for n in range(count)]


@pytest.mark.parametrize("form", ["folder", "pattern", "list"])
def test_shards_are_read_one_after_the_other(form: str, tmp_path: Path) -> None:
    files = shards(tmp_path)
    path: Any = {"folder": tmp_path, "pattern": tmp_path / "*.jsonl", "list": [str(file) for file in files]}[form]
    rows = read(path)
    assert [row.prompt for row in rows] == [row["prompt"] for row in ROWS]
    assert [row.id for row in rows] == ["1", "2", "3", "4", "5", "6"]


def test_a_bad_row_is_named_in_its_own_file(tmp_path: Path) -> None:
    files = shards(tmp_path)
    to_jsonl([ROWS[2], {**ROWS[3], "chosen": 3}], files[1])
    assert error(tmp_path).startswith(f"{files[1]} row 2: chosen: must be text, found 3")


def test_parquet_shards_on_the_layout_of_the_hub_are_read_by_split(tmp_path: Path) -> None:
    for split, rows in (("train", ROWS[:4]), ("test", ROWS[4:])):
        Dataset.from_list(rows).to_parquet(str(tmp_path / f"{split}-00000-of-00001.parquet"))
    assert [row.prompt for row in read(tmp_path, split="test")] == [row["prompt"] for row in ROWS[4:]]
    assert len(read(tmp_path)) == 4
    told = "no file belongs to the split 'val'; set data.split  (splits: test, train)"
    assert told in error(tmp_path, split="val")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards(tmp_path)[1].unlink()
    for path in (tmp_path, tmp_path / "train-*.jsonl"):
        assert "train: 1 of 3 shards are missing, the first is number 1" in error(path)


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    assert error(tmp_path / "*.jsonl") == f"{tmp_path}/*.jsonl: no file matches this pattern"


def test_a_folder_of_several_kinds_is_refused(tmp_path: Path) -> None:
    to_jsonl(ROWS, tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("prompt,chosen,rejected\nA?,B,C\n")
    assert f"contains files of several kinds: .csv, .jsonl; give a pattern, such as {tmp_path}/*.csv" in error(tmp_path)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="name at least one file or folder"):
        component("reader", "pairs", path=[])


def test_numbers_of_a_text_file_are_text_or_numbers_as_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,chosen,rejected,score\nHow many?,007,NA,0.5\n")
    [row] = read(tmp_path / "p.csv", columns=("score",))
    assert (row.responses, row.columns) == ({"chosen": "007", "rejected": "NA"}, {"score": 0.5})
    (tmp_path / "p.csv").write_text("prompt,chosen,rejected,score\nHow many?,7,8,much\n")
    assert "row 1: score: must be a finite number, found 'much'" in error(tmp_path / "p.csv", columns=("score",))
    (tmp_path / "p.csv").write_text("prompt,chosen,rejected,score\nHow many?,7,8,\n")
    assert "row 1: score: must be a finite number, found None; write" in error(tmp_path / "p.csv", columns=("score",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prompt,chosen,rejected\nA?,B\n", "p.csv row 1: has 2 values, but there are 3 columns"),
        (b"prompt,chosen,rejected\nA?,B,\xe9\n", "p.csv:2: b'\\xe9' is not UTF-8; save the file as UTF-8"),
        ("prompt,chosen,rejected\n".encode("utf-16-le"), "p.csv:1: it contains zero bytes"),
        (b'prompt,chosen,rejected\nA?,B,"C\n', "p.csv:2: cannot be read as CSV: unexpected end of data"),
        (b"prompt,chosen,chosen\nA?,B,C\n", "p.csv:1: the column 'chosen' occurs twice"),
        (b"prompt,chosen,rejected\n", "there are no rows"),
        (b"prompt,chosen,rejected\nA?,,C\n", "row 1: chosen: must be text, found None"),
    ],
)
def test_a_damaged_table_of_text_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    assert message in error(tmp_path / "p.csv")


def test_a_pattern_takes_the_files_of_its_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        to_jsonl(ROWS[number : number + 1], tmp_path / f"{split}-1.jsonl")
    assert [row.prompt for row in read(tmp_path / "*.jsonl", split="test")] == [ROWS[1]["prompt"]]
    assert [row.prompt for row in read(tmp_path / "*.jsonl")] == [ROWS[0]["prompt"]]
    to_jsonl(ROWS[2:3], tmp_path / "pairs.jsonl")
    for path in (tmp_path, tmp_path / "*.jsonl"):
        assert "others are not, such as pairs.jsonl; give a pattern" in error(path)
    assert "no file is named for the split 'test'" in error(tmp_path / "pairs*", split="test")


@pytest.mark.parametrize("names", [("boats-train", "boats-test"), ("train", "x.eval"), ("training_1", "my test 2")])
def test_the_word_of_a_split_stands_anywhere_in_a_name(names: tuple[str, str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        to_jsonl(ROWS[number : number + 1], tmp_path / f"{name}.jsonl")
    for number, split in enumerate(("train", "test")):
        assert [row.prompt for row in read(tmp_path, split=split)] == [ROWS[number]["prompt"]]
    ours = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["prompt"] for row in ours] == [ROWS[0]["prompt"]]


@pytest.mark.parametrize(("word", "split"), [("dev", "validation"), ("val", "dev"), ("contest", "train")])
def test_words_that_mean_one_split_are_one(word: str, split: str, tmp_path: Path) -> None:
    to_jsonl(ROWS, tmp_path / f"{word}.jsonl")
    assert len(read(tmp_path, split=split)) == len(ROWS)


@pytest.mark.parametrize("how", ["pattern", "dots", "link", "folder", "braces"])
def test_a_file_that_two_paths_name_is_refused(how: str, tmp_path: Path) -> None:
    file = to_jsonl(ROWS, tmp_path / "a.jsonl")
    (tmp_path / "b").symlink_to(file)
    others = {
        "pattern": tmp_path / "*.jsonl",
        "dots": tmp_path / ".." / tmp_path.name / "a.jsonl",
        "link": (tmp_path / "b").rename(tmp_path / "b.json"),
        "folder": tmp_path,
        "braces": tmp_path / "{a,a}.jsonl",
    }
    if how != "link":
        (tmp_path / "b.json").unlink()
    assert "would be read twice: data.path names it twice" in error([str(file), str(others[how])])


def test_a_shard_without_rows_is_passed_over(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    parquet.write_table(table.slice(0, 0), tmp_path / "p-00000-of-00002.parquet")
    assert "there are no rows" in error(tmp_path / "p-00000-of-00002.parquet")
    parquet.write_table(table, tmp_path / "p-00001-of-00002.parquet")
    assert len(read(tmp_path)) == len(ROWS)


def test_columns_of_parquet_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    notes = pyarrow.array([[("a", "b")]] * len(ROWS), pyarrow.map_(pyarrow.string(), pyarrow.string()))
    parquet.write_table(table.append_column("notes", notes), tmp_path / "map.parquet")
    assert "notes: `datasets` cannot read the type map<string, string" in error(tmp_path / "map.parquet")
    parquet.write_table(table.append_column("chosen", table["chosen"]), tmp_path / "two.parquet")
    assert "chosen: two columns have this name" in error(tmp_path / "two.parquet")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.org/a.jsonl", "download the file, and give its path"),
        ("s3://bucket/a.parquet", "download the file, and give its path"),
        ("file:///a/b.jsonl", "write the path of the file, without file://"),
        ("hf://datasets/a/b/c.jsonl", "write the name of the data set on the hub, OWNER/NAME"),
        ("~/a.jsonl", "write the whole path"),
        ("$HOME/a.jsonl", "write the whole path"),
    ],
)
def test_a_path_that_is_no_path_is_explained(path: str, message: str) -> None:
    assert message in error(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jsonl", "a.jsonl.gz"], "contains a.jsonl both packed and unpacked"),
        (["a-00000-of-00001.jsonl", "a-00000-of-00002.jsonl", "a-00001-of-00002.jsonl"], "shards of two counts"),
        (["train-00000-of-00002-1a2b.jsonl"], "1 of 2 shards are missing, the first is number 1"),
        (["a_1_of_3.jsonl", "a_2_of_3.jsonl"], "1 of 3 shards are missing, the first is number 0"),
        (["a-1-of-3.jsonl", "a-3-of-3.jsonl"], "1 of 3 shards are missing, the first is number 2"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        to_jsonl(ROWS, tmp_path / name)
    assert message in error(tmp_path)


def test_hidden_files_and_metadata_are_no_rows(tmp_path: Path) -> None:
    to_jsonl(ROWS, tmp_path / "a.json")
    for name in (".hidden.json", "dataset_info.json", "config.json"):
        (tmp_path / name).write_text('{"about": "the data"}')
    assert len(read(tmp_path)) == len(ROWS)


@pytest.mark.parametrize("path", [[""], ["a.jsonl", "a.jsonl"]])
def test_an_empty_or_repeated_path_is_refused(path: list[str]) -> None:
    with pytest.raises(ValueError, match=r"no empty one|named twice"):
        component("reader", "pairs", path=path)


def test_a_column_may_be_absent_in_some_shards(tmp_path: Path) -> None:
    row = {"chosen": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B"}]}
    row["rejected"] = [row["chosen"][0], {"role": "assistant", "content": "C"}]
    for number, more in enumerate(({"image": "x.png"}, {})):
        Dataset.from_list([{**row, **more}]).to_parquet(str(tmp_path / f"train-0000{number}-of-00002.parquet"))
    rows = component("reader", "trl", path=str(tmp_path), images=tmp_path).open()  # type: ignore[attr-defined]
    assert rows[1].images == ()
    with pytest.raises(DataError, match=r"'.*x.png' does not exist"):
        rows[0]


def test_numbers_are_read_by_the_kind_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected,score\nA?,B,C,0.5\n")
    to_jsonl([{**ROWS[0], "score": 2}], tmp_path / "b.jsonl")
    paths = [str(tmp_path / name) for name in ("a.csv", "b.jsonl")]
    for given in (paths, paths[::-1]):
        assert {row.columns["score"] for row in read(given, columns=("score",))} == {0.5, 2.0}


def test_no_copy_of_the_pictures_is_written(tmp_path: Path) -> None:
    picture = {"bytes": (PLAIN / "images" / "boat.png").read_bytes(), "path": None}
    table = Dataset.from_list([{**ROWS[0], "img_path": [picture]}]).cast_column("img_path", List(Image()))
    table.save_to_disk(str(tmp_path / "saved"))
    before = sorted(file.name for file in (tmp_path / "saved").iterdir())
    assert read(tmp_path / "saved", image="img_path")[0].images[0].size == (24, 16)
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == before


def test_pictures_nested_in_messages_are_read(tmp_path: Path) -> None:
    picture = {"bytes": (PLAIN / "images" / "boat.png").read_bytes(), "path": None}
    content = [{"type": "image", "text": None, "image": picture}, {"type": "text", "text": "A?", "image": None}]
    part = {"type": Value("string"), "text": Value("string"), "image": Image()}
    text = Value("string")
    features = Features({"prompt": List({"role": text, "content": List(part)}), "chosen": text, "rejected": text})
    row = {"prompt": [{"role": "user", "content": content}], "chosen": "B", "rejected": "C"}
    Dataset.from_list([row], features=features).to_parquet(str(tmp_path / "p.parquet"))
    [example] = read(tmp_path / "p.parquet", image=None)
    assert (example.images[0].size, example.num_marks) == ((24, 16), 1)


def test_zstd_is_read_and_a_cut_file_is_named(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    file = tmp_path / "p.jsonl.zst"
    file.write_bytes(packed)
    assert [row.prompt for row in read(file)] == [row["prompt"] for row in ROWS]
    for damaged, message in ((packed[:-3], "the file ends early"), (b"no zstd", "cannot be unpacked")):
        file.write_bytes(damaged)
        assert message in error(file)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_packed_file_is_named(damage: str, tmp_path: Path) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS * 50).encode())
    (tmp_path / "p.jsonl.gz").write_bytes(packed[:-20] if damage == "cut" else b"no gzip at all")
    assert "p.jsonl.gz: cannot be unpacked: " in error(tmp_path / "p.jsonl.gz")


@pytest.mark.parametrize("layout", ["data/train-00000-of-00001.jsonl", "train/metadata.jsonl", "pairs/all.jsonl"])
def test_rows_in_a_folder_below_are_found(layout: str, tmp_path: Path) -> None:
    for split, rows in (("train", ROWS[:4]), ("test", ROWS[4:])):
        file = tmp_path / layout.replace("train", split)
        file.parent.mkdir(exist_ok=True)
        to_jsonl(rows, file)
    (tmp_path / "README.md").write_text("about the data")
    by_split = "train" in layout
    assert [row.prompt for row in read(tmp_path)] == [row["prompt"] for row in (ROWS[:4] if by_split else ROWS[4:])]
    if by_split:
        assert [row.prompt for row in read(tmp_path, split="test")] == [row["prompt"] for row in ROWS[4:]]


def test_data_in_several_folders_is_to_be_chosen(tmp_path: Path) -> None:
    for name in ("easy", "data"):
        (tmp_path / name).mkdir()
        to_jsonl(ROWS, tmp_path / name / "train.jsonl")
    message = f"has data in several folders: data, easy; give one of them, such as {tmp_path / 'data'}"
    assert message in error(tmp_path)


@pytest.mark.parametrize(("written", "found"), [("4.5", 4.5), ("five", None)])
def test_scores_of_a_named_format_may_be_text_in_a_csv_file(written: str, found: float | None, tmp_path: Path) -> None:
    frames = DATA / "formats" / "llava_hound" / "frames"
    (tmp_path / "p.csv").write_text(f"video,prompt,chosen,rejected,chosen_score\nv_walk,A?,B,C,{written}\n")
    rows = component("reader", "hound", path=str(tmp_path / "p.csv"), images=frames).open()  # type: ignore[attr-defined]
    if found is not None:
        assert rows[0].columns == {"chosen_score": found}
        return
    with pytest.raises(DataError, match=f"row 1: chosen_score: must be a finite number, found {written!r}"):
        rows[0]


def written_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("form", ["bytes", "base64", "list", "parts"])
def test_pictures_in_parquet_are_read_from_the_file_itself(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pictures = [noise(number) for number in range(40)]
    stored: dict[str, Any] = {
        "bytes": [{"bytes": each, "path": None} for each in pictures],
        "base64": [b64encode(each).decode() for each in pictures],
        "list": [[{"bytes": each, "path": None}] for each in pictures],
        "parts": [None] * 40,
    }
    parts = [[{"type": "image", "image": each, "text": None}, {"type": "text", "text": "?"}] for each in pictures]
    prompts: list[Any] = (
        [[{"role": "user", "content": each}] for each in parts] if form == "parts" else ["<image>?"] * 40
    )
    answers = {"chosen": [str(n) for n in range(40)], "rejected": ["B"] * 40}
    table = pyarrow.table({"image": stored[form], "prompt": prompts, **answers})
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "p.parquet"
    parquet.write_table(table, file, row_group_size=16)
    rows = read(file, image="image")
    for copy in (rows, pickle.loads(pickle.dumps(rows))):
        for number in (0, 1, 15, 16, 39, 3, 2, 38, 17, *range(40)):
            assert copy[number].images[0].size == (100, 60 + number)
            assert copy[number].responses["chosen"] == str(number)
    assert written_in(tmp_path / "cache") < sum(map(len, pictures)) / 20
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["p.parquet"]


def test_the_pairs_of_rows_are_counted_without_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"question": "A?", "response_1": "B", "response_2": "C", "image": {"bytes": noise(1), "path": None}}
    rows = [{**row, "overall_response": number % 3} for number in range(30)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(PictureColumns, "row", lambda *_: pytest.fail("a picture is read"))
        found = component("reader", "align_anything", path=str(tmp_path / "p.parquet")).open()  # type: ignore[attr-defined]
    assert [example.id for example in found[:3]] == ["2-1", "3-1", "5-1"]
    assert found[0].images[0].size == (100, 61)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_that_changes_while_it_is_read_is_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"p.{kind}"
    table = Dataset.from_list([{**ROWS[0], "image": b64encode(noise(1)).decode()}])
    {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](str(file))
    stored = pickle.dumps(read(file, image="image"))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DataError, match=rf"p.{kind}: was changed while its rows were read; start again"):
        pickle.loads(stored)[0]


def noise(number: int) -> bytes:
    file = io.BytesIO()
    picture = PIL.Image.frombytes("L", (100, 60 + number), random.Random(number).randbytes(100 * (60 + number)))
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_few_files_are_open_at_a_time(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MOST", 3)
    for number in range(8):
        table = Dataset.from_list([{**ROWS[number % 6], "image": b64encode(noise(number)).decode()}])
        file = str(tmp_path / f"{number}.{kind}")
        {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](file)
    rows = read(tmp_path, image="image")
    for _ in range(2):
        assert [row.images[0].height for row in rows] == [60 + number for number in range(8)]
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert sum(link.is_relative_to(tmp_path) for link in links) <= 3
