"""The split into rows to train on and held-out rows: by picture, whatever the order of the rows."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import DataError, Example, ImageOptions, Turn, read_image
from mdpo_core.data.held_out import held_out_rows, targets_of
from mdpo_core.data.pictures.keys import keys_of, num_shared_pictures, row_groups
from mdpo_core.interfaces.reader import HoldOut

PICTURES = [PIL.Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in range(0, 240, 8)]


def row(name: object, *pictures: int, prompt: str = "?") -> Example:
    return Example(f"{name}", prompt, {}, tuple(PICTURES[number] for number in pictures))


def components(rows: list[Example]) -> list[set[int]]:
    """Rows that share pictures, found by joining sets until nothing changes."""
    found: list[tuple[set[object], set[int]]] = []
    for number, each in enumerate(rows):
        things: set[object] = {image.tobytes() for image in each.images} or {str(each.prompt)}
        members = {number}
        for other in [group for group in found if group[0] & things]:
            found.remove(other)
            things, members = things | other[0], members | other[1]
        found.append((things, members))
    return [members for _, members in found]


ROWS = st.lists(st.lists(st.integers(0, 20), max_size=3), min_size=4, max_size=30)


@given(ROWS, st.integers(1, 12), st.integers(0, 9), st.randoms())
def test_rows_with_a_common_picture_stay_together_in_any_order(
    pictures: list[list[int]], wanted: int, seed: int, rng: random.Random
) -> None:
    rows = [row(number, *each, prompt=f"{number % 3}") for number, each in enumerate(pictures)]
    shuffled = rng.sample(rows, len(rows))
    options = HoldOut(rows=wanted, seed=seed)
    found = []
    for each in (rows, shuffled):
        try:
            taken = held_out_rows([keys_of(example) for example in each], [""] * len(each), options)
        except DataError:
            found.append(None)
            continue
        found.append({each[index].id for index in taken})
    assert found[0] == found[1]
    held_out = found[0]
    if held_out is not None:
        for members in components(rows):
            assert {str(number) in held_out for number in members} in ({True}, {False})
        assert 0 < len(held_out) < len(rows)


def test_groups_are_joined_through_rows_of_several_pictures() -> None:
    rows = [row(0, 1), row(1, 2), row(2, 3), row(3, 1, 2), row(4, 2, 3), row(5, 9)]
    names = row_groups([keys_of(each) for each in rows])
    assert len(set(names[:5])) == 1
    assert names[5] != names[0]


def test_rows_without_a_picture_are_grouped_by_their_prompt_alone() -> None:
    turns = (Turn("user", "?"),)
    rows = [row(0), row(1), row(2, prompt="!"), row(3, 5), replace(row(4), prompt=turns), replace(row(5), prompt=turns)]
    names = row_groups([keys_of(each) for each in rows])
    assert names[0] == names[1]
    assert names[4] == names[5]
    assert len(set(names)) == 4


def test_keys_are_equal_for_the_same_pictures_under_the_same_prompt_alone() -> None:
    rows = [row(0, 1), row(1, 1), row(2, 1, prompt="!"), row(3, 2), row(4, 1, 2), row(5), row(6), row(7, 2, 1)]
    keys = [keys_of(each) for each in rows]
    assert keys[0] == keys[1]
    assert keys[5] == keys[6]
    assert len(set(keys)) == len(rows) - 2
    names = row_groups(keys)
    assert len(set(names)) == 2, "the prompts of rows with pictures join no groups"


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 500), min_size=1), st.data())
def test_sources_are_held_out_in_proportion(counts: dict[str, int], data: st.DataObject) -> None:
    total = sum(counts.values())
    wanted = data.draw(st.integers(1, total))
    targets = targets_of(counts, wanted)
    assert sum(targets.values()) == wanted
    for source, count in counts.items():
        share = wanted * count / total
        if wanted >= len(counts) and count > 1:
            assert targets[source] >= 1
        assert targets[source] >= int(share) - len(counts)
        assert targets[source] <= share + 1


def test_each_source_of_a_mixture_gives_its_share() -> None:
    keys = [keys_of(row(number, prompt=f"{number}")) for number in range(1000)]
    sources = ["boats"] * 700 + ["cats"] * 290 + ["dogs"] * 10
    taken = held_out_rows(keys, sources, HoldOut(share=0.05))
    assert Counter(sources[index] for index in taken) == {"boats": 35, "cats": 14, "dogs": 1}


def test_another_seed_holds_out_other_rows_and_a_row_more_changes_few() -> None:
    keys = [keys_of(row(number, prompt=f"{number}")) for number in range(400)]
    first, other = (set(held_out_rows(keys, [""] * 400, HoldOut(rows=40, seed=seed))) for seed in (0, 1))
    assert len(first) == len(other) == 40
    assert len(first & other) < 20
    assert len(first - set(held_out_rows(keys[:399], [""] * 399, HoldOut(rows=40)))) <= 1


def test_groups_of_many_rows_come_as_near_as_whole_groups_can() -> None:
    keys = [keys_of(row(number, number % 25)) for number in range(150)]  # six rows a picture
    taken = held_out_rows(keys, [""] * 150, HoldOut(rows=20))
    assert len(taken) == 18
    by_picture = defaultdict(int)
    for index in taken:
        by_picture[index % 25] += 1
    assert set(by_picture.values()) == {6}


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        (
            [1] * 6,
            HoldOut(share=0.5),
            "data.hold_out: all 6 rows share one picture, or one prompt without a picture, so none can be held out "
            "alone; read other rows with validation: {reader: ...} instead",
        ),
        (
            [1, 1, 1, 2, 2, 2],
            HoldOut(rows=1),
            "data.hold_out: 1 of 6 rows cannot be held out: rows that share a picture stay together, and the smallest "
            "group has 3; hold out 3, or read other rows with validation: {reader: ...} instead",
        ),
        (
            [1] * 4 + [2] * 4 + [3] * 4,
            HoldOut(rows=11),
            "data.hold_out: 11 of 12 rows cannot be held out: rows that share a picture stay together, and the "
            "smallest group has 4; hold out 4 to 8, or read other rows with validation: {reader: ...} instead",
        ),
        (
            [1, 2, 3],
            HoldOut(rows=3),
            "data.hold_out: rows: 3 of 3 sound rows would leave none to train on; hold out fewer",
        ),
        ([1, 2, 3], HoldOut(rows=500), "data.hold_out: rows: 500 of 3 sound rows would leave none to train on"),
    ],
)
def test_a_split_that_is_impossible_says_why(pictures: list[int], options: HoldOut, message: str) -> None:
    keys = [keys_of(row(number, each)) for number, each in enumerate(pictures)]
    with pytest.raises(DataError) as caught:
        held_out_rows(keys, [""] * len(keys), options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options", [{}, {"share": 0.1, "rows": 3}, {"share": 0}, {"share": 1}, {"share": -0.1}, {"rows": 0}, {"rows": -5}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"say how many rows are held out: share: 0.05, or rows: 500|should be"):
        HoldOut(**options)


def test_shared_pictures_are_counted_once_and_prompts_are_not() -> None:
    ours, theirs = (
        [keys_of(each) for each in rows] for rows in ([row(0, 1, 2), row(1)], [row(2, 1), row(3, 1), row(4)])
    )
    assert num_shared_pictures(ours, theirs) == 1


def test_one_picture_before_two_backgrounds_is_one_picture(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    rows = [
        Example(colour, "<image>", {}, (read_image(tmp_path / "a.png", ImageOptions(background=colour)),))
        for colour in ("white", "black")
    ]
    assert keys_of(rows[0]) == keys_of(rows[1])
    assert len(set(row_groups([keys_of(row) for row in rows]))) == 1
