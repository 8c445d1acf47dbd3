"""One row for each trouble of other people's data: read as it is written, refused, or mended if the recipe says so.

``KINDS`` says for every kind what happens to it, and which option mends it, if one does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.paths import DATA

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.data.checking import CheckedData, check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.validity import problems_of_row

FOLDER = DATA / "formats" / "quirks"
ROWS = [json.loads(line) for line in (FOLDER / "quirks.jsonl").read_text().splitlines()]
ORDER = [row["kind"] for row in ROWS]
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
READ = ""
ONLY_IN_THE_DATA = None  # no option mends it: the texts are read as they are written, or the paths must be mended


class Kind(NamedTuple):
    """What happens to a row by `pairs`, and by `trl`: empty if it is read, or else a part of the message.

    ``mended_by``: the options of `pairs` that mend it. ``trl``: None if it is as with `pairs`.
    """

    pairs: str
    trl: str | None = None
    mended_by: dict[str, Any] | None = ONLY_IN_THE_DATA


KINDS: dict[str, Kind] = {
    "good": Kind(READ),
    "entities": Kind(READ),
    "prefixes": Kind(READ),
    "null_image": Kind(READ),
    "null_image_mark": Kind(
        "the prompt has 1 <image> marks for 0 images; it needs one for each (data.image names the pictures' column; "
        "data.marks: first writes marks",
    ),
    "missing_file": Kind("image: '{folder}/images/gone.png' does not exist; is data.images ('{folder}') the folder"),
    "cut_file": Kind("image: '{folder}/images/cut.png' cannot be used: "),
    "other_case": Kind("image: '{folder}/images/upper.png' does not exist; did you mean 'images/Upper.PNG'?"),
    "leading_slash": Kind("image: '/images/boat.png' lies outside of data.images"),
    "windows_path": Kind("does not exist; did you mean 'images/boat.png'?"),
    "doubled_folder": Kind("image: '{folder}/images/images/boat.png' does not exist; did you mean 'images/boat.png'?"),
    "url": Kind("image: 'https://host.invalid/boat.png' is a web address; download the image into"),
    "equal": Kind("the responses 'chosen' and 'rejected' are equal, so neither can be preferred; mend one of them"),
    "equal_but_blank": Kind(READ),
    "empty_rejected": Kind("the response 'rejected' is empty; write an answer, or remove the row"),
    "mark_in_answer": Kind("the response 'chosen' contains an <image> mark; only prompts may contain one"),
    "two_marks": Kind(
        "the prompt has 2 <image> marks for 1 images; it needs one for each (data.image names the pictures' column; "
        "data.marks: first writes marks",
    ),
    "no_mark": Kind(
        "the prompt has 0 <image> marks for 1 images; it needs one for each (data.image names the pictures' column; "
        "data.marks: first writes marks",
        READ,
        {"marks": "first"},
    ),
    "other_mark": Kind(
        "prompt: has no <image> mark, but '<img>': write <image> in its place, or set data.image_mark: '<img>'",
        "prompt: has no <image> mark, but '<img>': write <image> in its place",
        {"image_mark": "<img>"},
    ),
    "end_token": Kind(READ),  # the model's adapter refuses it: see below
    "duplicate": Kind(READ),  # duplicates: quarantine leaves it out: see below
    "null_rejected": Kind("rejected: must be text, found None; write the text, or remove the row"),
}


def opened(reader: str, **options: Any) -> Any:
    columns = {"image": "image"} if reader == "pairs" else {}
    return component("reader", reader, path=str(FOLDER / "quirks.jsonl"), images=FOLDER, **columns, **options)


def problem(reader: str, kind: str, **options: Any) -> str:
    """What is wrong with the row of this kind; empty if nothing is."""
    rows = opened(reader, **options).open()
    try:
        return "; ".join(problems_of_row(rows[ORDER.index(kind)]))
    except DataError as error:
        return str(error)


def example(kind: str, **options: Any) -> Example:
    found: Example = opened("pairs", **options).open()[ORDER.index(kind)]
    return found


def test_every_kind_is_here() -> None:
    assert list(KINDS) == [*dict.fromkeys(ORDER)] != []
    assert len(KINDS) == EXPECTED["rows"]


@pytest.mark.parametrize("reader", ["pairs", "trl"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_read_as_it_is_written_or_refused_with_a_sentence(kind: str, reader: str) -> None:
    message = KINDS[kind].trl if reader == "trl" and KINDS[kind].trl is not None else KINDS[kind].pairs
    found = problem(reader, kind)
    if message == READ:
        assert found == ""
    else:
        assert message.format(folder=FOLDER.resolve()) in found
        assert found.startswith(("the ", f"{FOLDER / 'quirks.jsonl'} row {ORDER.index(kind) + 1}: "))


@pytest.mark.parametrize("kind", [kind for kind, each in KINDS.items() if each.mended_by is not None])
def test_an_option_mends_what_it_is_for_and_nothing_else(kind: str) -> None:
    options = KINDS[kind].mended_by or {}
    assert problem("pairs", kind, **options) == ""
    changed = [other for other in KINDS if problem("pairs", other, **options) != problem("pairs", other)]
    assert changed == [kind]


def test_the_lists_of_the_expected_file_agree() -> None:
    by_pairs = {kind for kind, each in KINDS.items() if each.pairs == READ}
    assert by_pairs == set(EXPECTED["sound_as_written"])
    told = {kind for kind, each in KINDS.items() if each.mended_by is not None} | {"end_token", "duplicate"}
    assert told <= set(EXPECTED["a_reader_may_mend_if_told"])
    refused = set(KINDS) - by_pairs
    assert set(EXPECTED["bad"]) <= refused
    assert refused - set(EXPECTED["bad"]) <= set(EXPECTED["a_reader_may_mend_if_told"])


@pytest.mark.parametrize("kind", ["entities", "prefixes", "equal_but_blank", "end_token", "duplicate"])
def test_a_text_is_never_changed(kind: str) -> None:
    stored, found = ROWS[ORDER.index(kind)], example(kind)
    answers = {name: stored[name] for name in ("chosen", "rejected")}
    assert (found.prompt, found.responses) == (stored["prompt"], answers)


def test_another_mark_is_read_as_ours() -> None:
    assert example("other_mark", image_mark="<img>").prompt == "<image>\nWhat is on the water?"


def checked_by(llava: Path, without_duplicates: bool = False, **model: Any) -> CheckedData:
    """What a run's check finds."""
    encoder = component("adapter", "llava", path=str(llava), prompts="chat", **model).encoder()  # type: ignore[attr-defined]
    builder = BatchBuilder.for_terms([component("loss", "dpo")], {}, encoder, 2048, seed=0)  # type: ignore[list-item]
    rows = opened("pairs").open()
    return check_data(rows, builder, lambda done, total: None, without_duplicates=without_duplicates)


def problems_of_check(llava: Path, **model: Any) -> dict[str, str]:
    """What a run's check says of each bad kind."""
    bad = checked_by(llava, **model).bad
    return {ORDER[row]: "; ".join(map(str, problems)) for row, problems in bad.items()}


def test_an_end_token_is_refused_by_the_model_that_has_it_and_read_if_it_is_meant(llava: Path) -> None:
    refused = {kind for kind, each in KINDS.items() if each.pairs != READ}
    found = problems_of_check(llava)
    assert set(found) == refused | {"end_token"}
    assert "chosen: the response contains '</s>', which the tokenizer takes for a special token" in found["end_token"]
    assert set(problems_of_check(llava, special_tokens=("</s>",))) == refused


def test_a_duplicate_is_left_out_if_the_recipe_says_so(llava: Path) -> None:
    assert not checked_by(llava).duplicates
    left_out = checked_by(llava, without_duplicates=True).duplicates
    assert {ORDER[row]: ORDER[first] for row, first in left_out.items()} == {"duplicate": "good"}


@pytest.mark.parametrize(
    ("column", "mark"),
    [*(("prompt", mark) for mark in ("<img>", "<ImageHere>", "<|image_1|>", "[IMG]")), ("chosen", "<img>")],
)
def test_marks_of_other_data_sets_are_named_and_read(column: str, mark: str, tmp_path: Path) -> None:
    row = {"prompt": f"{mark}What?", "chosen": "Yes.", "rejected": "No.", "image": "images/boat.png"}
    if column == "chosen":
        row |= {"prompt": f"{mark} {mark} What?", "image": None, "chosen": f"{mark} a"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    options: dict[str, Any] = {"path": str(tmp_path / "rows.jsonl"), "images": FOLDER, "image": "image"}
    read = component("reader", "pairs", image_mark=mark, **options).open()[0]  # type: ignore[attr-defined]
    if column == "chosen":
        assert (read.num_marks, read.responses["chosen"]) == (2, "<image> a")  # both are problems of the row
        return
    assert (read.prompt, read.num_marks, len(read.images)) == ("<image>What?", 1, 1)
    with pytest.raises(DataError, match=r"row 1: prompt: has no <image> mark, but '"):
        component("reader", "pairs", **options).open()[0]  # type: ignore[attr-defined]


def test_messages_with_another_mark_are_read(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "<img> What?"}], "image": "images/boat.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "chosen": "Yes.", "rejected": "No."}))
    options: dict[str, Any] = {"path": str(tmp_path / "rows.jsonl"), "images": FOLDER, "image": "image"}
    [read] = component("reader", "pairs", image_mark="<img>", **options).open()  # type: ignore[attr-defined]
    assert read.prompt == (Turn("user", "<image> What?"),)
