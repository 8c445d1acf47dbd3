"""Rows that are written anew hold all that they held."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import PIL.Image
import pytest
from support.data_commands import Row, lines, same_pixels, write_rows
from support.pairs import PROMPT

from mdpo_core import Begun, Box, DataError, Example, Turn, component
from mdpo_core.make_data.new_rows import NewPairsFile, NewRow


def picture(color: str) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (8, 6), color)


def example(number: int) -> Example:
    return Example(
        f"row-{number}",
        (Turn("user", "<image> and <image>?"),),
        {"chosen": f"Red {number}.", "rejected": "Blue."},
        (picture("red"), picture("blue")),
        columns={"score": 0.5},
        other_images={"rejected": (picture("green"),), "none": ()},
        other_prompts={"second": "<image> or <image>?"},
        vectors={"clip": (0.25, -1.0)},
        boxes={"faces": ((Box(0, 1, 2, 3),), ()) if number else ((), ())},
        begun=Begun("It is quiet." if number else "", joint="", unfinished=True),
    )


def test_an_example_of_any_reader_comes_back_whole(tmp_path: Path) -> None:
    data = [example(0), example(1)]
    new = [NewRow(row, {"rejected": "Green."}, {"why": {"seed": 0}, "margin": 2.0}) for row in (0, 1)]
    found = NewPairsFile(tmp_path / "pairs.jsonl", data).write(new).open()
    for before, after in zip(data, found, strict=True):
        assert same_pixels(before, after)
        assert {name: [image.tobytes() for image in each] for name, each in after.other_images.items()} == {
            name: [image.tobytes() for image in each] for name, each in before.other_images.items()
        }
        empty = replace(before, images=(), other_images={})
        assert replace(after, images=(), other_images={}) == replace(
            empty, responses={**before.responses, "rejected": "Green."}, columns={"score": 0.5, "margin": 2.0}
        )
    assert [row["source_rejected"] for row in lines(tmp_path / "pairs.jsonl")] == ["Blue.", "Blue."]


@pytest.mark.parametrize(
    "ways",
    [
        (None, Begun("It is quiet.")),
        (Begun("It is quiet."), Begun("It is quiet.", unfinished=True)),
        (Begun("It is quiet.", unfinished=True), None),
        (Begun("It is quiet.", joint=""), Begun("It is quiet.")),
    ],
)
def test_rows_whose_answers_are_begun_in_two_ways_are_refused(
    ways: tuple[Begun | None, Begun | None], tmp_path: Path
) -> None:
    """One reader would read the beginnings of one of the two wrongly, and nobody would see it."""
    data = [replace(example(number), begun=begun) for number, begun in enumerate(ways)]
    new = [NewRow(row, {"rejected": "Green."}, {}) for row in (0, 1)]
    with pytest.raises(DataError, match="'row-1': its answers are begun in another way than those of example 'row-0'"):
        NewPairsFile(tmp_path / "pairs.jsonl", data).write(new)
    assert not (tmp_path / "pairs.jsonl").exists()


def test_sources_that_begin_answers_in_two_ways_are_refused_before_the_work(tmp_path: Path) -> None:
    data = [replace(example(number), begun=Begun("It is.", unfinished=number == 1)) for number in range(3)]
    file = NewPairsFile(tmp_path / "pairs.jsonl", data)
    with pytest.raises(DataError, match=r"'row-1': its answers are begun in another way .* a file of its own"):
        file.require_alike([0, 1])
    file.require_alike([0, 2])


def test_rows_without_pictures_need_no_folder_for_them(tmp_path: Path) -> None:
    data = [Example("a", "How many?", {"chosen": "One.", "rejected": "Two."})]
    [found] = NewPairsFile(tmp_path / "pairs.jsonl", data).write([NewRow(0, {"rejected": "Three."}, {})]).open()
    assert (found.prompt, found.responses, found.images) == ("How many?", {"chosen": "One.", "rejected": "Three."}, ())
    assert not (tmp_path / "pairs.jsonl.images").exists()


def test_embedded_pictures_become_files_beside_all_of_them(tmp_path: Path) -> None:
    image = datasets.Image()
    text = datasets.Value("string")
    features = datasets.Features({"img_path": image, "other": image, "prompt": text, "chosen": text, "rejected": text})
    row = {"img_path": picture("red"), "other": picture("blue"), "prompt": PROMPT, "chosen": "a", "rejected": "b"}
    datasets.Dataset.from_list([row], features=features).to_parquet(str(tmp_path / "source.parquet"))
    reader = component("reader", "pairs", path=str(tmp_path / "source.parquet"), other_images={"second": "other"})
    data = reader.open()  # type: ignore[attr-defined]
    [found] = NewPairsFile(tmp_path / "pairs.jsonl", data).write([NewRow(0, {"rejected": "c"}, {})]).open()
    assert same_pixels(found, data[0])
    assert found.other_images["second"][0].tobytes() == picture("blue").tobytes()
    assert found.responses == {"chosen": "a", "rejected": "c"}


@pytest.mark.parametrize(("value", "written"), [(float("nan"), None), ([{"x": 1.5}, None], [{"x": 1.5}, None])])
def test_what_json_holds_stays_and_no_number_is_null(tmp_path: Path, value: object, written: object) -> None:
    row = {"prompt": "How?", "chosen": "a", "rejected": "b", "more": value}
    datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / "source.parquet"))
    data = component("reader", "pairs", path=str(tmp_path / "source.parquet"), image=None).open()  # type: ignore[attr-defined]
    NewPairsFile(tmp_path / "pairs.jsonl", data).write([NewRow(0, {"rejected": "c"}, {})])
    assert lines(tmp_path / "pairs.jsonl")[0]["more"] == written


def test_dates_are_text_again(tmp_path: Path) -> None:
    rows: list[Row] = [{"chosen": "a", "rejected": "b", "day": "2024-05-01", "prompt": "How?"}]
    data = component("reader", "pairs", path=str(write_rows(tmp_path / "source.jsonl", rows)), image=None).open()  # type: ignore[attr-defined]
    NewPairsFile(tmp_path / "pairs.jsonl", data).write([NewRow(0, {"rejected": "c"}, {})])
    assert json.dumps(lines(tmp_path / "pairs.jsonl")[0]["day"]).startswith('"2024-05-01')


def test_a_number_that_json_lacks_is_named(tmp_path: Path) -> None:
    row = {"prompt": "How?", "chosen": "a", "rejected": "b", "more": float("inf")}
    datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / "source.parquet"))
    data = component("reader", "pairs", path=str(tmp_path / "source.parquet"), image=None).open()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"source.parquet row 1: more: must be a finite number"):
        NewPairsFile(tmp_path / "pairs.jsonl", data).write([NewRow(0, {"rejected": "c"}, {})])
    assert not (tmp_path / "pairs.jsonl").exists()
