"""What a search may choose: ranges and values, as texts and from Python."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import Range, RecipeError
from mdpo_core.sweeping.grid import read_value
from mdpo_core.sweeping.space import Choice, space_of

FRACTIONS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(10**9), 10**9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1..1.0", Range(0.1, 1.0)),
        ("1e-6..1e-4:log", Range(1e-6, 1e-4, log=True)),
        ("1..8", Range(1, 8)),
        ("1..8:log", Range(1, 8, log=True)),
        ("-2..3", Range(-2, 3)),
        ("0.0..1", Range(0.0, 1)),
        (".5..1.5", Range(0.5, 1.5)),
        ("0.1,0.2", Choice(("0.1", "0.2"))),
        ("[0.9,0.98],[0.8,0.9]", Choice(("[0.9,0.98]", "[0.8,0.9]"))),
        ("../data.json", Choice(("../data.json",))),
        ("a..b", Choice(("a..b",))),
    ],
)
def test_a_text_is_a_range_or_a_choice(text: str, expected: Range | Choice) -> None:
    found = space_of([f"a.b={text}", "a.c=1,2"]).options["a.b"]
    assert found == expected
    if isinstance(expected, Range):
        assert isinstance(found, Range)
        assert found.is_whole == expected.is_whole


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["a.b=1.0..0.1"], "a.b=1.0..0.1: a range goes from a smaller number to a larger one, found 1.0 to 0.1"),
        (["a.b=2..2"], "a.b=2..2: a range goes from a smaller number to a larger one, found 2 to 2"),
        (["a.b=0..8:log"], "a.b=0..8:log: a range on a log scale has numbers above 0, found 0"),
        (["a.b=-1.0..8:log"], "a range on a log scale has numbers above 0, found -1.0"),
        (["a.b=0.1..inf"], "a range has two finite numbers as its ends, found 0.1 and inf"),
        (["a.b=0.1.."], "a.b=0.1..: a range is LOW..HIGH, or LOW..HIGH:log, found 0.1.."),
        (["a.b=1..x"], "a range is LOW..HIGH, or LOW..HIGH:log, found 1..x"),
        (["a.b=1..2:lag"], "a range is LOW..HIGH, or LOW..HIGH:log, found 1..2:lag"),
        (["a.b=1..2,5"], "a.b=1..2,5: in a search, a range stands alone, without other values"),
        (["a.b=1,,2"], "a value is missing beside a comma"),
        (["a.b=0.1,1.0e-1"], "a.b=0.1,1.0e-1: two values are the same; name each one once"),
        (["a.b=1"], "no option has a range or more than one value, so there is nothing to search for"),
        ([], "nothing to search for"),
        (["a.b"], "a.b: write it as section.key=LOW..HIGH, or as section.key=value,value"),
        (["a.b=1..2", "a.b=3"], "a.b is named twice"),
        (["output.dir=a,b"], "output.dir cannot be set in a sweep"),
        (["a.b=1,[2"], "a.b=[2: not valid YAML"),
    ],
)
def test_what_is_no_space_is_a_sentence(assignments: list[str], sentence: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        space_of(assignments)


@pytest.mark.parametrize("ends", [(True, 2), ("1", 2), (0.0, math.nan), (None, 1)])
def test_python_gives_numbers_as_ends(ends: tuple[Any, Any]) -> None:
    with pytest.raises(RecipeError, match="two finite numbers as its ends"):
        Range(*ends)


def test_python_gives_the_same_space_as_texts() -> None:
    texts = ["a.b=1e-6..1e-4:log", "a.c=1..8", "a.d=x,null", "a.e=[1, 2]"]
    values = {"a.b": Range(1e-6, 1e-4, log=True), "a.c": Range(1, 8), "a.d": ["x", None], "a.e": [[1, 2]]}
    one, other = space_of(texts), space_of(values)
    assert one.free["a.b"] == other.free["a.b"]
    read = [
        {change.partition("=")[0]: read_value("", change.partition("=")[2]) for change in space.changes(corner)}
        for space in (one, other)
        for corner in space.corners()
    ]
    assert read[:2] == read[2:]


@given(st.one_of(st.tuples(FRACTIONS, FRACTIONS), st.tuples(WHOLE, WHOLE)).map(sorted))
def test_a_range_is_written_as_it_is_read_and_its_corners_are_its_ends(ends: list[float]) -> None:
    low, high = ends
    if low == high:
        return
    space = space_of([f"a.b={json.dumps(low)}..{json.dumps(high)}", "a.c=x,y,z"])
    found = space.options["a.b"]
    assert isinstance(found, Range)
    assert (found.low, found.high) == (low, high)
    assert [corner["a.b"] for corner in space.corners()] == [low, high, high]
    assert [corner["a.c"] for corner in space.corners()] == ["x", "y", "z"]
    assert [float(change.partition("=")[2]) for corner in space.corners() for change in space.changes(corner)[:1]] == [
        low,
        high,
        high,
    ]
