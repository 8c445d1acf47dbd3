"""Values of options, their combinations, and the names of these."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import RecipeError
from mdpo_core.recipe.yaml_text import read_yaml
from mdpo_core.sweeping.grid import axes_of, points_of, split_values

LETTERS = st.characters(exclude_categories=("C", "Z"))
VALUES = st.one_of(st.integers(-(10**18), 10**18), st.text(LETTERS, max_size=30), st.booleans())


def texts_of(assignment: str) -> list[str]:
    [axis] = axes_of([assignment])
    return list(axis.texts)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2", ["1", "2"]),
        ("0..2", ["0", "1", "2"]),
        ("-1..1,7", ["-1", "0", "1", "7"]),
        ("3..3", ["3"]),
        ("[a,b]", ["[a,b]"]),
        ("[a,b],[c, d]", ["[a,b]", "[c, d]"]),
        ("{a: 1, b: [2, 3]},null", ["{a: 1, b: [2, 3]}", "null"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ("'a,b'", ["'a,b'"]),
        ('["a]",b],c', ['["a]",b]', "c"]),
        ("it's,that's", ["it's", "that's"]),  # YAML has quotes at the beginning alone
        ("a[0],b", ["a[0]", "b"]),
        ("../a.json,../b.json", ["../a.json", "../b.json"]),
        ("a=b,c", ["a=b", "c"]),
        ("", [""]),
        (" 1 , 2 ", ["1", "2"]),
    ],
)
def test_values_stand_between_commas(text: str, values: list[str]) -> None:
    assert texts_of(f"a.b={text}") == values


@given(st.lists(st.sampled_from(["1", "x y", "[1, 2]", '"a,b"', "{a: [1,2]}", "'b,'", "0.5", "null"]), min_size=1))
def test_values_that_are_joined_are_split_again(values: list[str]) -> None:
    assert split_values(",".join(values)) == values


@given(
    st.dictionaries(
        st.sampled_from(["train.seed", "objective.0.beta", "objective.1.beta", "data.path", "x.seed"]),
        st.lists(
            VALUES,
            min_size=2,
            max_size=4,
            unique=True,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_points_are_all_combinations_with_names_of_their_own(values: dict[str, list[Any]]) -> None:
    if any(len({(type(each) is bool, each) for each in some}) < len(some) for some in values.values()):
        return
    points = points_of(axes_of(values))
    assert len(points) == len({point.name for point in points})
    expected = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    found = []
    for point in points:
        pairs = [change.split("=", 1) for change in point.changes]
        found.append({key: read_yaml(text, str).plain() for key, text in pairs})  # type: ignore[union-attr]
    assert found == expected
    assert all(re.fullmatch(r"[\w.+=,-]+", point.name) for point in points)
    assert all(len(point.name.encode()) < 255 for point in points if point.name.isascii())


@pytest.mark.parametrize(
    ("assignments", "names"),
    [
        (["train.seed=0..1", "train.epochs=1"], ["seed=0", "seed=1"]),
        (["objective.*.beta=0.1,0.2", "train.seed=3,4"], ["beta=0.1,seed=3", "beta=0.1,seed=4", "beta=0.2,seed=3"]),
        (["objective.0.beta=1,2", "objective.1.beta=1,2"], ["0.beta=1,1.beta=1", "0.beta=1,1.beta=2"]),
        (["objective.0=null,1"], ["objective.0=null", "objective.0=1"]),
        (["train.learning_rate=1e-5,3.0e-4"], ["learning_rate=1e-05", "learning_rate=0.0003"]),
    ],
)
def test_names_hold_the_options_that_differ(assignments: list[str], names: list[str]) -> None:
    assert [point.name for point in points_of(axes_of(assignments))][: len(names)] == names


def test_a_value_that_no_directory_can_be_called_by_gets_a_digest() -> None:
    points = points_of(axes_of(["data.path=sets/a b.json,sets/a-b.json"]))
    assert all(re.fullmatch(r"path=sets-a-b\.json-[0-9a-f]{6}", point.name) for point in points)
    assert points[0].name != points[1].name


def test_the_name_of_a_point_does_not_depend_on_the_others() -> None:
    few, many = (points_of(axes_of([f"train.seed={text}", "a.b=1,2"])) for text in ("1,2", "0..9"))
    assert {point.name for point in few} < {point.name for point in many}
    assert {change for point in few for change in point.changes} < {
        change for point in many for change in point.changes
    }


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["train.seed=0"], "no option has more than one value, so there is one run alone"),
        ([], "no option has more than one value, so there is one run alone"),
        (["train.seed"], "train.seed: write it as section.key=value,value"),
        (["train..seed=1,2"], "write it as section.key=value,value"),
        (["train.seed=2..0"], "the range 2..0 is empty; write 0..2"),
        (["train.seed=0..1000000"], "the range 0..1000000 has more than 10,000 values"),
        (["a.b=0..999", "a.c=0..999"], "the grid has more than 10,000 points"),
        (["a.b=1,,2"], "a value is missing beside a comma; an empty one is null"),
        (["a.b=1,"], "a value is missing beside a comma"),
        (["a.b=0.1..1.0"], "0.1..1.0 is a range of fractions"),
        (["a.b=1e-6..1e-4:log"], "1e-6..1e-4:log is a range of fractions"),
        (["a.b=1,2", "a.b=3"], "a.b is named twice; give all of its values at once: a.b=A,B"),
        (["a.b=1,1"], "two points of the grid are the same: b=1; name each value once"),
        (["a.b=0..2,1"], "two points of the grid are the same: b=1"),
        (["output.dir=a,b"], "output.dir cannot be set in a sweep: each run has its own directory in the one of"),
        (["output={dir: a}", "a.b=1,2"], "output cannot be set in a sweep"),
        (["a.b=1,[2"], "a.b=[2: not valid YAML"),
    ],
)
def test_what_is_no_grid_is_a_sentence(assignments: list[str], sentence: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        points_of(axes_of(assignments))


@pytest.mark.parametrize("values", [[], range(0), ()])
def test_an_option_without_a_value_leaves_no_run(values: Any) -> None:
    with pytest.raises(RecipeError, match=r"train\.seed has no value, so the sweep has no run"):
        axes_of({"train.seed": values, "a.b": [1, 2]})


def test_a_list_that_is_one_value_stands_in_a_list() -> None:
    [axis] = axes_of({"data.path": [["a", "b"], ["c"]]})
    assert axis.values == [["a", "b"], ["c"]]


def test_a_value_that_no_recipe_can_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="is not a value that a recipe can have"):
        axes_of({"train.seed": [object()]})
