"""Rows that are left out: how many may be, and the list of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from support.pairs import PROMPT
from support.paths import LLAVA_MDPO

from mdpo_core import DataError, Example, RecipeError, component, load_recipe
from mdpo_core.cli.main import main
from mdpo_core.data.checking import CheckedData, check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.reading import read_data
from mdpo_core.storage.quarantine import write_quarantine
from mdpo_core.storage.stored_checks import StoredChecks

PICTURE = PIL.Image.new("RGB", (40, 30))
ROW = Example("1", PROMPT, {"chosen": "A flower.", "rejected": "A temple."}, (PICTURE,))


def check(rows: Sequence[Example], llava: Path, **options: bool) -> CheckedData:
    encoder = component("adapter", "llava", path=str(llava)).encoder()  # type: ignore[attr-defined]
    builder = BatchBuilder.for_terms([component("loss", "dpo")], {}, encoder, 2048, seed=0)  # type: ignore[list-item]
    return check_data(rows, builder, lambda done, total: None, **options)


@pytest.fixture(scope="module")
def some_bad(llava: Path) -> CheckedData:
    """Two hundred rows: three with a wrong number of marks, one with equal answers, and one with both."""
    rows = [replace(ROW, id=str(number)) for number in range(200)]
    for number, marks in ((5, 0), (7, 2), (9, 3), (11, 4)):
        rows[number] = replace(rows[number], prompt="<image>" * marks)
    for number in (11, 20):
        rows[number] = replace(rows[number], responses={"chosen": "B", "rejected": "B"})
    return check(rows, llava)


@pytest.mark.parametrize("share", [1.0, 0.5, 5 / 200])
def test_up_to_the_limit_rows_are_left_out(share: float, some_bad: CheckedData) -> None:
    some_bad.require_valid(quarantine=share)
    assert some_bad.num_bad == 5


def test_above_the_limit_the_reasons_are_named_by_frequency(some_bad: CheckedData) -> None:
    with pytest.raises(DataError) as caught:
        some_bad.require_valid(quarantine=4 / 200)
    first, *reasons = str(caught.value).splitlines()
    assert first == (
        "data.bad_rows: 5 of 200 rows (2.50%) are bad, more than {quarantine: 0.02} allows; mend them, or raise it. "
        "The reasons:"
    )
    assert reasons[0].startswith("4 times, first in row 6: the prompt has 0 <image> marks for 1 images")
    assert reasons[1].startswith("2 times, first in row 12: the responses 'chosen' and 'rejected' are equal")
    assert len(reasons) == 2


SAME = [
    ROW,
    replace(ROW, id="other answers", responses={"chosen": "A", "rejected": "A temple."}),
    replace(ROW, id="same", columns={"score": 1.0}),
    replace(ROW, id="other picture", images=(PIL.Image.new("RGB", (40, 30), "red"),)),
    replace(ROW, id="other prompt", prompt=PROMPT + " Say it."),
    replace(ROW, id="bad", prompt="no mark"),
    replace(ROW, id="same again", images=(PICTURE.copy(),)),
]


def test_the_first_of_equal_rows_stays(llava: Path) -> None:
    kept, checked = check(SAME, llava), check(SAME, llava, without_duplicates=True)
    assert kept.rows == [0, 1, 2, 3, 4, 6]
    assert not kept.duplicates
    assert checked.rows == [0, 1, 3, 4]
    assert checked.duplicates == {2: 0, 6: 0}
    assert (checked.num_bad, checked.num_left_out) == (1, 3)
    with pytest.raises(DataError, match="marks for 1 images"):
        checked.require_valid(quarantine=0)


def test_the_list_names_row_source_file_id_and_reason(llava: Path, tmp_path: Path) -> None:
    write_quarantine(tmp_path / "list", check(SAME, llava, without_duplicates=True))
    listed = read(tmp_path / "list")
    assert [(each["row"], each["id"]) for each in listed] == [(3, "same"), (6, "bad"), (7, "same again")]
    assert listed[0]["problems"] == ["row 3: its prompt, answers and pictures are those of row 1"]
    assert "the prompt has 0 <image> marks" in listed[1]["problems"][0]


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def mixed(pairs: Path, photographs: Path, changes: list[str], tmp_path: Path) -> list[str]:
    """A recipe's changes for a mixture with a missing picture, and two rows with the same content."""
    rows = json.loads(pairs.read_text())
    rows[1]["img_path"] = "missing.jpg"
    rows[3] = rows[2]
    (tmp_path / "boats.json").write_text(json.dumps(rows))
    sources = f"{{boats: {{reader: pairs, path: {tmp_path / 'boats.json'}, images: {photographs}}}}}"
    others = [each for each in changes if not each.startswith("data.")]
    return [*others, f"data={{reader: mixture, sources: {sources}, duplicates: quarantine}}"]


def test_rows_of_a_mixture_are_listed_with_source_and_file(mixed: list[str], tmp_path: Path) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*mixed, "data.bad_rows={quarantine: 0.1}"])
    for _ in range(2):  # the second time from what was stored
        checked, _ = read_data(recipe, store=StoredChecks(recipe))
        write_quarantine(tmp_path / "list", checked)
        listed = read(tmp_path / "list")
        file = str(tmp_path / "boats.json")
        assert [(each["row"], each["source"], each["file"]) for each in listed] == [
            (2, "boats", file),
            (4, "boats", file),
        ]
        assert [each["id"] for each in listed] == [None, "boats/4"]
        assert "missing.jpg' does not exist" in listed[0]["problems"][0]


@pytest.mark.parametrize(("more", "code"), [([], 2), (["--set", "data.bad_rows=quarantine"], 0)])
def test_the_command_writes_the_list_even_if_rows_stop_it(
    more: list[str], code: int, mixed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for each in mixed for word in ("--set", each)]
    file = tmp_path / "list.jsonl"
    assert main(["check", str(LLAVA_MDPO), *words, *more, "--quarantine", str(file)]) == code
    assert [each["row"] for each in read(file)] == [2, 4]
    said = capsys.readouterr()
    assert ("8 rows, 2 in quarantine" in said.out) == (code == 0)
    assert ("missing.jpg" in said.err) == (code == 2)


@pytest.mark.parametrize("option", ["{quarantine: 0}", "{quarantine: 1.5}", "{quarantine: a}", "leave", "{most: 0.1}"])
def test_other_limits_are_refused(option: str, changes: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"data\.bad_rows"):
        load_recipe(LLAVA_MDPO, [*changes, f"data.bad_rows={option}"])


def test_copies_of_a_mixture_are_no_duplicates(mixed: list[str]) -> None:
    with pytest.raises(RecipeError, match="would leave out the copies that times reads of the source 'boats'"):
        load_recipe(LLAVA_MDPO, [*mixed, "data.sources.boats.times=2"])


def test_a_quarantine_that_leaves_no_row_says_so(llava: Path) -> None:
    checked = check([replace(ROW, id=str(number), prompt="no mark") for number in range(3)], llava)
    with pytest.raises(DataError, match="no row is left to train on: all 3 are bad"):
        checked.require_valid(quarantine=1.0)
