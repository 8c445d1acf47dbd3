"""COCO's files of annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mdpo_benchmarks.coco.annotations import Annotations
from support.builders.coco_files import tiny, written

from mdpo_core import DataError, RecipeError

NAMES = {1: "person", 2: "bus", 3: "dog"}
CATEGORIES = {name: name for name in NAMES.values()} | {"man": "person"}
# Texts that look like the keys that are looked for.
TEXTS = st.sampled_from(['"image_id": 3', '{"category_id": 2}', "plain", 'a \\" b', "é\n"])
EXTRAS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.lists(st.lists(st.floats(0, 9)), max_size=2)), max_size=3)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """An annotation with its keys in any order, among others."""
    keys = {"image_id": draw(st.integers(1, 4)), "category_id": draw(st.sampled_from(sorted(NAMES)))}
    items = draw(st.permutations([*keys.items(), *draw(EXTRAS).items()]))
    return dict(items)


def named(caption: str) -> set[str]:
    return {CATEGORIES[word] for word in caption.split() if word in CATEGORIES}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(objects(), max_size=8), st.permutations(["info", "annotations", "categories", "images"]), st.data())
def test_objects_are_those_that_a_json_reader_finds(
    tmp_path: Path, annotations: list[dict[str, Any]], order: list[str], data: st.DataObject
) -> None:
    captions = {image: data.draw(st.sampled_from(["a man", "a dog and a bus", "calm"])) for image in range(1, 5)}
    tiny(tmp_path, captions, {})
    parts = {
        "info": {"note": '"categories": ['},
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "parts": [["a"]]} for number, name in NAMES.items()],
        "images": [{"id": image} for image in captions],
    }
    text = json.dumps({key: parts[key] for key in order}, indent=data.draw(st.sampled_from([None, 1])))
    (tmp_path / "instances_val2014.json").write_text(text)
    expected = {image: named(caption) for image, caption in captions.items() if image != 4}
    for each in json.loads(text)["annotations"]:
        expected.get(each["image_id"], set()).add(NAMES[each["category_id"]])
    assert Annotations.within(tmp_path).objects({1, 2, 3}, CATEGORIES, named) == expected


def test_training_and_validation_are_merged(tmp_path: Path) -> None:
    tiny(tmp_path, {1: "a man"}, {1: [2]})
    for kind in ("instances", "captions"):
        (tmp_path / f"{kind}_val2014.json").rename(tmp_path / f"{kind}_train2014.json")
    tiny(tmp_path, {2: "a dog"}, {2: [1]})
    found = Annotations.within(tmp_path).objects([1, 2], CATEGORIES, named)
    assert found == {1: {"person", "bus"}, 2: {"person", "dog"}}


def test_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"must hold instances_\*\.json and captions_\*\.json"):
        Annotations.within(tmp_path)
    tiny(tmp_path, {1: "a man"}, {})
    (tmp_path / "captions_val2014.json").unlink()
    with pytest.raises(RecipeError, match=r"the file '.*captions_val2014\.json' does not exist"):
        Annotations.within(tmp_path)


ONE = {"categories": [{"id": 1, "name": "person"}], "annotations": [{"image_id": 1, "category_id": 1}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(ONE)[:-1], "is no whole file of COCO's instances; was it fetched to its end?"),
        (json.dumps({"annotations": []}), "is no whole file of COCO's instances"),
        ("", "instances_val2014.json: is empty"),
        (json.dumps({**ONE, "annotations": [{"image_id": 1}, {"image_id": 1}]}), "needs one image_id and one category"),
        (json.dumps({**ONE, "annotations": [{"image_id": "1", "category_id": 1}]}), "both whole numbers"),
        (json.dumps({**ONE, "annotations": [{"image_id": 1, "category_id": 2}]}), "category 2 is missing"),
        (json.dumps({**ONE, "categories": [{"id": 1, "name": "sky"}]}), "'sky' is no word of the list of synonyms"),
        (json.dumps({**ONE, "categories": [{"id": 1}]}), "must be a list of objects with id and name"),
        (json.dumps({**ONE, "categories": {"1": "person"}}), "must be a list of objects with id and name"),
    ],
)
def test_damaged_instances_are_refused(content: str, message: str, tmp_path: Path) -> None:
    tiny(tmp_path, {1: "a man"}, {})
    (tmp_path / "instances_val2014.json").write_text(content)
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        Annotations.within(tmp_path).objects([1], CATEGORIES, named)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "captions_val2014.json: must hold an object with keys"),
        ({"annotations": [{"image_id": 1}]}, r"must have annotations with image_id and caption.*KeyError: 'caption'"),
    ],
)
def test_damaged_captions_are_refused(content: object, message: str, tmp_path: Path) -> None:
    tiny(tmp_path, {1: "a man"}, {})
    written(tmp_path, "captions_val2014.json", content)
    with pytest.raises(DataError, match=message):
        Annotations.within(tmp_path).objects([1], CATEGORIES, named)
