"""Rows that are not valid: each is named, and none is repaired or dropped in silence."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mdpo_digits
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pairs import PROMPT
from support.paths import RECIPES

from mdpo_core import Box, DataError, Example, Problem, Turn, component, load_recipe, read_image
from mdpo_core.data.checking import CheckedData, check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.reading import read_data
from mdpo_core.errors import by_frequency

ROW = Example("1", PROMPT, {"chosen": "A flower.", "rejected": "A temple."}, (PIL.Image.new("RGB", (40, 30)),))


def check(
    rows: Sequence[Example], llava: Path, max_length: int = 2048, num_workers: int = 0, **term: object
) -> CheckedData:
    return check_data(rows, check_builder(llava, max_length, **term), lambda done, total: None, num_workers)


def check_builder(llava: Path, max_length: int = 2048, **term: object) -> BatchBuilder:
    encoder = component("adapter", "llava", path=str(llava), unusual_texts="keep").encoder()  # type: ignore[attr-defined]
    crop = component("corruption", "random_crop")
    terms = [component("loss", "dpo", **term)]
    return BatchBuilder.for_terms(terms, {"crop": crop}, encoder, max_length, seed=0)  # type: ignore[arg-type,dict-item]


def problem(checked: CheckedData) -> str:
    with pytest.raises(DataError) as caught:
        checked.require_valid(quarantine=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses": {"chosen": "", "rejected": "B"}}, "row 2: the response 'chosen' is empty"),
        *(
            (
                {"responses": {"chosen": text, "rejected": "B"}},
                "row 2: the response 'chosen' is empty: it shows nothing",
            )
            for text in (" \n", "\u200b", "\u200e\ufeff\u00ad", "\u3164", "\u2800\u00a0", "\ufe0f", "\U000e0041")
        ),
        (
            {"responses": {"chosen": (Turn("assistant", "\u200b"),), "rejected": "B"}},
            "row 2: the response 'chosen' is empty: it shows nothing",
        ),
        *(
            ({"responses": {"chosen": f"A {char}", "rejected": "B"}}, f"row 2: the response 'chosen' contains {reason}")
            for char, reason in (
                ("\0", r"'\x00', a control character; is the file in another encoding"),
                ("\x92", r"'\x92', a control character"),
                ("\ud83d", r"'\ud83d', half of a character (a lone surrogate)"),
            )
        ),
        ({"prompt": f"{PROMPT}\x9f"}, r"row 2: the prompt contains '\x9f', a control character"),
        ({"prompt": (Turn("user", "<image>\udc00"),)}, r"row 2: the prompt contains '\udc00', half of a character"),
        ({"other_prompts": {"b": "\x85"}}, r"row 2: the other prompt 'b' contains '\x85', a control character"),
        ({"id": "2\0"}, r"row 2: the id contains '\x00', a control character"),
        ({"responses": {"chosen": "B", "rejected": "B"}}, "row 2: the responses 'chosen' and 'rejected' are equal"),
        (
            {"responses": {"chosen": "<image>", "rejected": "B"}},
            "row 2: the response 'chosen' contains an <image> mark",
        ),
        ({"prompt": "no mark"}, "row 2: the prompt has 0 <image> marks for 1 images; it needs one for each"),
        ({"prompt": "<image><image>"}, "row 2: the prompt has 2 <image> marks for 1 images"),
        ({"images": ()}, "row 2: the prompt has 1 <image> marks for 0 images"),
        ({"id": "1"}, "row 2: row 1 also has the id '1'; ids must differ: give one of the two another id"),
        ({"boxes": {"it": ()}}, "row 2: the boxes 'it' are for 0 images, but the row has 1"),
        (
            {"boxes": {"it": ((Box(0, 0, 41, 9),),)}},
            "row 2: boxes 'it' of image 0: the box [0, 0, 41, 9] reaches beyond",
        ),
        ({"vectors": {"clip": (float("nan"),)}}, "row 2: the vector 'clip' holds a number that is not finite"),
        ({"responses": {"rejected": "B"}}, "the objective needs the response 'chosen'; the data has rejected"),
    ],
)
def test_an_invalid_row_is_named_with_its_problem(changes: dict[str, object], message: str, llava: Path) -> None:
    bad = replace(ROW, **{"id": "2", **changes})  # type: ignore[arg-type]
    checked = check([ROW, bad, replace(ROW, id="3")], llava)
    assert message in problem(checked)
    assert checked.rows == [0, 2]


def test_answers_that_the_tokenizer_writes_alike_are_bad() -> None:
    """The quickstart's model knows few words: of these answers it knows none, so their loss would stay at log 2."""
    model = Path(mdpo_digits.__file__).parent / "base"
    alike = replace(ROW, id="2", responses={"chosen": "a grey cat", "rejected": "a brown dog"})
    known = replace(ROW, responses={"chosen": "a grey four", "rejected": "a brown one"})
    checked = check([known, alike], model)
    assert "row 2, example '2': the responses 'chosen' and 'rejected' have the same tokens" in problem(checked)
    assert checked.rows == [0]


def test_answers_that_no_term_compares_may_have_the_same_tokens() -> None:
    model = Path(mdpo_digits.__file__).parent / "base"
    encoder = component("adapter", "llava", path=str(model), unusual_texts="keep").encoder()  # type: ignore[attr-defined]
    answers = {"chosen": "a grey cat", "rejected": "a four", "other": "a brown dog", "more": "a one"}
    row = replace(ROW, responses=answers)
    apart = [component("loss", "dpo"), component("loss", "dpo", prefer="other", over="more")]
    together = [*apart, component("loss", "dpo", prefer="other", over="chosen")]
    for terms, num_bad in ((apart, 0), (together, 1)):
        builder = BatchBuilder.for_terms(terms, {}, encoder, 2048, seed=0)  # type: ignore[arg-type]
        assert check_data([row], builder, lambda done, total: None).num_bad == num_bad


def test_answers_that_no_term_compares_may_be_equal(llava: Path) -> None:
    equal = replace(ROW, responses={"chosen": "A flower.", "rejected": "A flower.", "other": "A temple."})
    assert "'chosen' and 'rejected' are equal" in problem(check([equal], llava))
    assert check([equal], llava, over="other").num_bad == 0
    builder = replace(check_builder(llava, over="other"), checks_rows=True)
    assert builder.build([equal], [0], epoch=0).ids == ("1",)
    with pytest.raises(DataError, match="'chosen' and 'rejected' are equal"):
        replace(check_builder(llava), checks_rows=True).build([equal], [0], epoch=0)


@pytest.mark.parametrize(("condition", "num_bad"), [("crop", 0), ("clean", 1)])
def test_equal_answers_to_different_pictures_are_compared(condition: str, num_bad: int, llava: Path) -> None:
    """The picture decides which is preferred, so the loss does not stay at log 2."""
    equal = replace(ROW, responses={"chosen": "A flower.", "rejected": "A flower."})
    assert check([equal], llava, over=f"rejected@{condition}").num_bad == num_bad


def test_too_long_row_is_refused_and_no_image_token_is_cut(llava: Path) -> None:
    assert "image tokens included" in problem(check([ROW], llava, max_length=10))
    assert "are more than model.max_length = 10; nothing is cut off" in problem(check([ROW], llava, max_length=10))


def test_a_row_longer_than_the_model_s_positions_is_bad(small: list[str], llava: Path, tmp_path: Path) -> None:
    """Shorter rows of the same model are not, whatever max_length is."""
    folder = shutil.copytree(llava, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    changes = [*small, f"model.path={folder}", "data.bad_rows=quarantine"]
    checked, _ = read_data(load_recipe(RECIPES / "llava_mdpo.yaml", changes))
    whole, _ = read_data(load_recipe(RECIPES / "llava_mdpo.yaml", [*small]))
    assert not whole.bad
    assert 0 < len(checked.rows) < 10
    found = str(next(iter(checked.bad.values()))[0])
    assert "response tokens are more than the model's 24 positions; nothing is cut off: shorten the row" in found


def test_a_term_over_a_response_that_no_row_has_is_refused(llava: Path) -> None:
    assert "needs the response 'rationale'; the data has chosen, rejected" in problem(
        check([ROW], llava, over="rationale")
    )


def test_quarantine_needs_rows_that_are_left(llava: Path) -> None:
    checked = check([replace(ROW, prompt="no mark")], llava)
    with pytest.raises(DataError):
        checked.require_valid(quarantine=True)


@pytest.fixture
def mixed(pairs: Path, photographs: Path, tmp_path: Path) -> Sequence[Example]:
    """Seventy rows of a file, of which the 8th cannot be read and three more are not valid."""
    rows = [{**row, "name": f"{part}-{place}"} for part in range(7) for place, row in enumerate(read(pairs))]
    rows[7]["img_path"] = "missing.jpg"
    rows[40]["chosen"] = " "
    rows[41]["name"] = rows[3]["name"]
    rows[66]["rejected"] = rows[66]["chosen"]
    file = tmp_path / "mixed.json"
    file.write_text(json.dumps(rows))
    return component("reader", "pairs", path=str(file), images=photographs, id="name").open()  # type: ignore[attr-defined,no-any-return]


def read(file: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(file.read_text())
    return found


def outcome(checked: CheckedData) -> tuple[object, ...]:
    return checked.rows, checked.lengths, list(checked.bad.items()), checked.digest


@pytest.mark.long
def test_problems_found_do_not_depend_on_workers_or_chunk_size(
    mixed: Sequence[Example], llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = check(mixed, llava)
    assert list(here.bad) == [7, 40, 41, 66]
    assert "row 8: img_path" in str(here.bad[7][0])
    assert outcome(check(mixed, llava, num_workers=2)) == outcome(here)
    monkeypatch.setattr("mdpo_core.data.checking._CHUNK", 3)
    assert outcome(check(mixed, llava)) == outcome(here)


def test_valid_row_length_is_prompt_image_tokens_and_responses(llava: Path) -> None:
    """A valid row is as long as its prompt, image tokens included, and all its responses together."""
    encoder = component("adapter", "llava", path=str(llava)).encoder()  # type: ignore[attr-defined]
    text_only = replace(ROW, id="2", prompt="No picture.", images=())
    longer = replace(ROW, id="3", responses={**ROW.responses, "chosen": "A flower, and a temple."})
    checked = check([ROW, replace(ROW, id="bad", prompt="no mark"), text_only, longer], llava)
    assert checked.lengths == [
        len(encoder.encode_prompt(row).token_ids)
        + sum(len(encoder.encode_response(text)) for text in row.responses.values())
        for row in (ROW, text_only, longer)
    ]


def test_a_thousand_bad_rows_give_a_sentence_with_their_number_and_what_to_do(llava: Path) -> None:
    rows = [replace(ROW, id=str(number), prompt="no mark") for number in range(1000)]
    assert problem(check(rows, llava)).splitlines() == [
        "all 1,000 rows are bad; the reasons, the most frequent first:",
        "1,000 times, first in row 1: the prompt has 0 <image> marks for 1 images; it needs one for each "
        "(data.image names the pictures' column; data.marks: first writes marks into prompts without any)",
    ]


def test_several_reasons_are_told_by_frequency_and_rare_ones_with_each_row(llava: Path) -> None:
    rows = [replace(ROW, id=str(number)) for number in range(40)]
    equal = {"chosen": "A temple.", "rejected": "A temple."}
    empty = {"chosen": "", "rejected": "A temple."}
    for number in range(20):
        rows[number] = replace(rows[number], responses=equal)
    for number in range(8, 34):
        rows[number] = replace(rows[number], prompt="<image> <image> Two?")
    for number in (35, 37):
        rows[number] = replace(rows[number], responses=empty)
    first, *reasons = problem(check(rows, llava)).splitlines()
    assert first == (
        "36 of 40 rows are bad; mend them, or leave them out by data.bad_rows: quarantine. The reasons, the most "
        "frequent first:"
    )
    assert reasons[0].startswith("26 times, first in row 9: the prompt has 2 <image> marks for 1 images")
    assert reasons[1].startswith("20 times, first in row 1: the responses 'chosen' and 'rejected' are equal")
    assert [line.split(":")[0] for line in reasons[2:]] == ["row 36", "row 38"]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_every_bad_row_is_counted_once_for_its_reason(reasons: list[str]) -> None:
    """Each row has one problem, of one of three kinds; numbers and quoted words do not make another kind."""
    problems = [[Problem(f"row {row + 1}", "", f"{kind} is bad {row} '{row}'")] for row, kind in enumerate(reasons)]
    told = [str(each) for each in by_frequency(problems)]
    counts = Counter(reasons)
    alone = [line for line in told if line.startswith("row ")]
    grouped = {line.split(": ")[1][0]: int(line.split(" ")[0]) for line in told if line not in alone}
    assert grouped == {kind: count for kind, count in counts.items() if count > 3}
    assert len(alone) == sum(count for count in counts.values() if count <= 3)
    assert list(grouped.values()) == sorted(grouped.values(), reverse=True)


def test_the_digest_changes_with_every_part_of_a_row(llava: Path) -> None:
    other = PIL.Image.new("RGB", (40, 30), (1, 0, 0))
    box = Box(0, 0, 40, 30)
    changes = [
        *({}, {"id": "x"}, {"prompt": PROMPT + " "}, {"images": (other,)}, {"columns": {"score": 1.0}}),
        *(
            {"other_images": {"a": (other,)}},
            {"other_images": {"b": (other,)}},
            {"other_images": {"a": (other, other)}},
        ),
        *({"other_prompts": {"a": "x"}}, {"vectors": {"a": (1.0,)}}, {"boxes": {"a": ((box,),)}}),
    ]
    digests = {check([replace(ROW, **each)], llava).digest for each in changes}  # type: ignore[arg-type]
    assert len(digests) == len(changes)


def test_a_read_picture_is_hashed_by_its_bytes_and_another_by_its_pixels(llava: Path) -> None:
    file = io.BytesIO()
    ROW.images[0].save(file, "PNG")
    content = file.getvalue()
    read, again, longer = (read_image(each) for each in (content, content, content + b"\0"))
    digests = [check([replace(ROW, images=(image,))], llava).digest for image in (read, again, longer, read.copy())]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert digests[3] == check([ROW], llava).digest
