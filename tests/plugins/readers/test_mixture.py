"""Several sources, read as one."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.paths import DATA, RECIPES

from mdpo_core import DataError, RecipeError, component, load_recipe
from mdpo_core.testing import check_reader

FOLDER = DATA / "formats" / "mixture"
BOATS = {"reader": "pairs", "path": str(FOLDER / "a.jsonl"), "images": str(FOLDER)}
CATS = {
    **BOATS,
    "path": str(FOLDER / "b.json"),
    "image": "image",
    "prompt": "question",
    "responses": {"chosen": "good", "rejected": "bad"},
    "marks": "first",
}


def mixture(**sources: dict[str, Any]) -> Any:
    return component("reader", "mixture", sources=sources)


@pytest.fixture
def numbers(tmp_path: Path) -> dict[str, Any]:
    rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "x"} for n in range(10)]
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"reader": "pairs", "path": str(tmp_path / "numbers.jsonl"), "image": None}


def test_the_sources_of_the_case_are_read_with_their_times() -> None:
    expected = json.loads((FOLDER / "expected.json").read_text())
    rows = mixture(a=BOATS, b={**CATS, "times": 2}).open()
    counts = {name: sum(row.id.startswith(f"{name}/") for row in rows) for name in ("a", "b")}
    assert counts == expected["epoch"]
    assert len({row.id for row in rows}) == len(rows)
    firsts = {row.id.partition("/")[0]: row for row in reversed(rows)}
    for name, pair in zip(("a", "b"), [expected["first"], *expected["others"]], strict=True):
        assert firsts[name].prompt == pair["prompt"][0]["content"]
        assert firsts[name].responses == {"chosen": pair["chosen"], "rejected": pair["rejected"]}
        assert [list(image.size) for image in firsts[name].images] == pair["image_sizes"]


def test_copies_have_ids_of_their_own(numbers: dict[str, Any]) -> None:
    rows = mixture(n={**numbers, "times": 2}).open()
    assert [row.id for row in rows] == [f"n/{n}" for n in range(1, 11)] + [f"n/{n}#2" for n in range(1, 11)]
    assert rows[3].prompt == rows[13].prompt
    assert pickle.loads(pickle.dumps(rows))[13].id == "n/4#2"


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_a_share_draws_different_rows_by_the_seed(share: float, seed: int) -> None:
    source = {**BOATS, "times": share}
    first, second = (
        [row.id for row in component("reader", "mixture", sources={"a": source}, seed=seed).open()]  # type: ignore[attr-defined]
        for _ in range(2)
    )
    count = len(mixture(a=BOATS).open())
    assert first == second
    assert len(set(first)) == len(first) == max(1, round(share * count))


def test_a_mixture_keeps_the_contract(numbers: dict[str, Any]) -> None:
    check_reader(mixture(a=numbers, b={**numbers, "times": 2}))


def test_a_bad_row_is_named_with_its_source(numbers: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps({"prompt": "?", "chosen": 3, "rejected": "x"}))
    rows = mixture(a=numbers, b={**numbers, "path": str(tmp_path / "bad.jsonl")}).open()
    assert rows.place(10) == f"b: {tmp_path / 'bad.jsonl'} row 1"
    with pytest.raises(DataError, match="chosen: must be text") as caught:
        rows[10]
    [problem] = caught.value.problems
    assert problem.where == rows.place(10) == problem.at(rows.place(10)).where  # it is named once


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "name at least one source"),
        ({"a": {"path": "x"}}, "the source 'a' needs a reader"),
        ({"a": {"reader": "pears", "path": "x"}}, "the source 'a': .*did you mean 'pairs'"),
        ({"a": {"reader": "pairs"}}, "the source 'a': path: missing"),
        (
            {"a": {**BOATS, "imagess": "x"}},
            "the source 'a': imagess: unknown option; `mdpo plugins reader pairs` lists its options",
        ),
        ({"a": {**BOATS, "max_pixels": 0}}, "the source 'a': max_pixels: Input should be greater than 0, found 0"),
        ({"a/b": BOATS}, "needs a name without / and #"),
        ({"a": {**BOATS, "times": 0}}, "times must be a whole number from 1 to 1000, or a share below 1"),
        ({"a": {**BOATS, "times": 1.5}}, "times must be .* found 1.5"),
        ({"a": {**BOATS, "times": True}}, "times must be"),
        ({"a": {**BOATS, "times": "2"}}, "times must be"),
        ({"a": {**BOATS, "times": math.inf}}, "times must be .* found inf"),
        ({"a": {**BOATS, "times": math.nan}}, "times must be .* found nan"),
        ({"a": {**BOATS, "times": 1001}}, "times must be .* found 1001"),
        ({"a": {**BOATS, "kind": "reader"}}, "the source 'a': 'kind' is not an option"),
        ({"a": {**BOATS, "name": "pairs"}}, "the source 'a': 'name' is not an option"),
        ({"a": {**BOATS, "bad_rows": "quarantine"}}, "the source 'a': bad_rows .* say it at data.bad_rows"),
    ],
)
def test_a_wrong_source_is_named(sources: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        mixture(**sources)


def test_a_wrong_source_of_a_recipe_is_named_with_its_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"extends: {RECIPES / 'llava_mdpo.yaml'}\ndata:\n  reader: mixture\n  sources:\n    a: {{reader: pairs}}\n"
    )
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+.*the source 'a'"):
        load_recipe(recipe)


@pytest.mark.parametrize("times", [0.5, 2])
def test_a_source_without_rows_is_named(times: float, numbers: dict[str, Any], tmp_path: Path) -> None:
    user, tie = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}], "tie"
    (tmp_path / "ties.jsonl").write_text(json.dumps({"conversation_a": user, "conversation_b": user, "winner": tie}))
    ties = {"reader": "arena", "path": str(tmp_path / "ties.jsonl"), "times": times}
    with pytest.raises(DataError, match=r"data.sources: b: has no rows"):
        mixture(a=numbers, b=ties).open()


def test_ids_with_a_number_sign_do_not_collide_with_those_of_copies(tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": "?", "chosen": "a", "rejected": "b"} for name in ("1", "1#2", "1#", "1##2", "1###2")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"reader": "pairs", "path": str(tmp_path / "rows.jsonl"), "image": None, "id": "id", "times": 3}
    ids = [row.id for row in mixture(a=source).open()]
    assert len(set(ids)) == len(ids) == 15
