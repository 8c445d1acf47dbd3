"""Options that differ by row in a recipe: read, printed, changed, and refused in sentences."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from support.paths import RECIPES

from mdpo_core import ColumnStrength, DataError, Flag, Recipe, RecipeError, component, load_recipe
from mdpo_core.data.term_checks import check_row
from mdpo_core.recipe.checks.needs import needs_of_term
from mdpo_core.recipe.json_schema import recipe_schema

RECIPE = RECIPES / "quickstart_dpo.yaml"
BY_COLUMN = "objective=[{loss: dpo, beta: {column: strength}}]"


def with_terms(*terms: dict[str, Any], **options: Any) -> Recipe:
    others = {name.replace("__", "."): value for name, value in options.items()}
    return load_recipe(RECIPE, {"objective": list(terms), "evaluators": [], **others})


@pytest.fixture(autouse=True)
def rows_may_have_any_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the recipe says that its rows have no columns."""
    monkeypatch.setattr(type(load_recipe(RECIPE).data), "gives", lambda _: None)


FORMS: list[dict[str, Any]] = [
    {"loss": "dpo", "beta": {"column": "strength"}},
    {"loss": "dpo", "beta": {"strength": "mm_rlhf", "w": 0.3}, "weight": {"strength": "madpo", "most": 3.0}},
    {"loss": "simpo", "gamma": {"column": "target"}},
    {"loss": "dpo", "label_smoothing": {"column": "doubt"}},
    {"loss": "bco", "shift": {"column": "threshold"}},
    {"anchor": "reward", "delta": {"column": "least_reward"}, "weight": {"column": "confidence"}},
    {"loss": "spo", "weight": {"column": "confidence"}, "degrees": ["chosen", "half"]},
]


@pytest.mark.parametrize("term", FORMS)
def test_a_recipe_with_strengths_prints_itself_and_is_read_again(term: dict[str, Any]) -> None:
    recipe = with_terms(term)
    plain = json.loads(json.dumps(recipe.to_dict()))
    for option, value in term.items():
        if isinstance(value, dict):
            assert value.items() <= plain["objective"][0][option].items()
    again = load_recipe(plain)
    assert again == recipe
    assert pickle.loads(pickle.dumps(recipe)).objective == recipe.objective


def test_an_option_of_a_strength_changes_as_any_other() -> None:
    recipe = with_terms({"loss": "dpo", "beta": {"strength": "mm_rlhf"}}).with_({"objective.0.beta.w": 0.25})
    assert recipe.to_dict()["objective"][0]["beta"]["w"] == 0.25
    number = recipe.with_({"objective.0.beta": 0.2})
    assert number.objective[0].strengths() == {}
    column = number.with_({"objective.0.beta": ColumnStrength(column="strength")})
    assert column.to_dict()["objective"][0]["beta"] == {"column": "strength"}


def test_terms_take_strengths_as_objects() -> None:
    strength = component("strength", "mm_rlhf", w=0.2)
    made = component("loss", "dpo", beta=strength)
    assert made.strengths() == {"beta": strength}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="tau"):
        component("loss", "discopop", tau=strength)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (
            {"beta": {"strength": "mm_rlhff"}},
            "beta.strength: unknown strength 'mm_rlhff'; did you mean 'mm_rlhf'",
        ),
        ({"beta": {"strength": "mm_rlhf", "kk": 1.0}}, r"objective.0.beta.kk: unknown option; did you mean 'k'\?"),
        ({"beta": {"strength": "mm_rlhf", "k": -1.0}}, "objective.0.beta.k: input should be greater than 0"),
        (
            {"beta": {"colum": "x"}},
            "0.beta: must be a number, {column: NAME} or {strength: NAME, ...}; found",
        ),
        ({"beta": {"column": "x", "w": 1}}, "objective.0.beta: must be a number, {column: NAME} or"),
        ({"beta": {"column": 3}}, "objective.0.beta.column: must be the name of a column, found the int 3"),
        ({"beta": {"column": ""}}, "objective.0.beta.column: string should have at least 1 character"),
        (
            {"loss": "discopop", "tau": {"column": "x"}},
            "tau: takes one number for all rows; by row: weight, beta",
        ),
        ({"beta": "column"}, "objective.0.beta: input should be a valid number, found 'column'"),
    ],
)
def test_what_is_no_strength_is_refused_at_its_place(term: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_terms({"loss": "dpo", **term})
    assert said.replace("\\", "") in str(caught.value)


@pytest.mark.parametrize(
    "term",
    [{"loss": "simpo"}, {"anchor": "reward"}, {"loss": "kto"}],
)
def test_a_strength_of_margins_needs_a_term_that_has_them(term: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"objective\.0\.weight: the strength 'beta_dpo' reads margins of two views"):
        with_terms({**term, "weight": {"strength": "beta_dpo"}})


def test_noise_on_embeddings_does_not_go_with_means_of_the_whole_batch() -> None:
    with pytest.raises(RecipeError, match=r"0\.beta: the strength 'beta_dpo' reads means of the whole batch"):
        with_terms({"loss": "dpo", "beta": {"strength": "beta_dpo"}}, train__neftune_noise_alpha=5.0)
    with_terms({"loss": "dpo", "beta": {"strength": "mm_rlhf"}}, train__neftune_noise_alpha=5.0)


def test_the_columns_of_strengths_are_needed_of_every_row() -> None:
    term = with_terms({"loss": "dpo", "beta": {"column": "strength"}, "weight": {"strength": "madpo"}}).objective[0]
    needed = [need.name for need in needs_of_term(term) if need.field == "columns"]
    assert needed == ["chosen_score", "rejected_score", "strength"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("beta", math.nan, "'beta' must be finite and above 0, found strength = nan"),
        ("beta", math.inf, "'beta' must be finite and above 0, found strength = inf"),
        ("beta", -0.5, "'beta' must be finite and above 0, found strength = -0.5"),
        ("beta", 0.0, "'beta' must be finite and above 0, found strength = 0"),
        ("label_smoothing", 0.5, "'label_smoothing' must be finite and at least 0 and below 0.5, found strength = 0.5"),
        ("weight", -1.0, "'weight' must be finite and at least 0, found strength = -1"),
        ("beta", Flag(True), "'beta' reads numbers from the column 'strength', found true; write 1 if that is meant"),
        ("weight", False, "'weight' reads numbers from the column 'strength', found false; write 0 if that is meant"),
    ],
)
def test_a_column_obeys_the_limits_of_its_option(option: str, value: float, said: str) -> None:
    term = with_terms({"loss": "dpo", option: {"column": "strength"}}).objective[0]
    check_row(term, "17", {"strength": 0.3})
    with pytest.raises(DataError) as caught:
        check_row(term, "17", {"strength": value})
    assert str(caught.value).strip().endswith(f"example '17': {said}")


def test_a_term_itself_reads_true_as_1() -> None:
    """The label of a pair may be written as true or false; only the numbers of strengths may not."""
    term = with_terms({"loss": "dpo", "beta": {"column": "strength"}}, {"loss": "gpo"}).objective[1]
    scores = {"chosen_score": Flag(True), "rejected_score": Flag(False)}
    check_row(term, "17", {name: scores[name] for name in term.columns()})


@pytest.mark.parametrize(("value", "said"), [(Flag(True), "true; write 1"), (Flag(False), "false; write 0")])
def test_a_rank_is_no_flag(value: float, said: str) -> None:
    """As numbers, false would be a better rank than true."""
    term = with_terms({"loss": "listwise", "order": ["chosen", "rejected"], "ranks": ["first", "second"]}).objective[0]
    check_row(term, "17", {"first": 2.0, "second": 1.0})
    with pytest.raises(DataError, match=f"example '17': the term reads numbers from the column 'second', found {said}"):
        check_row(term, "17", {"first": 2.0, "second": value})


def test_a_weight_of_0_leaves_a_row_out() -> None:
    check_row(with_terms({"loss": "dpo", "weight": {"column": "w"}}).objective[0], "17", {"w": 0.0})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-2.0, "'beta' must be finite and above 0, found strength = -2"),
        (True, "'beta' reads numbers from the column 'strength', found true; write 1 if that is meant"),
        ("NaN", "strength: must be a finite number, found 'NaN'; write a number, or remove the row"),
        ("0.5", "strength: must be a finite number, found '0.5', a text; write it without quotation marks"),
        ("strong", "strength: must be a finite number, found 'strong'; write a number, or remove the row"),
        (None, "strength: must be a finite number, found None; write a number, or remove the row"),
    ],
)
def test_the_data_check_names_file_row_and_value(value: object, said: str, pairs: Path, small: list[str]) -> None:
    from mdpo_core import run

    rows = json.loads(pairs.read_text())
    rows = [{**row, "strength": value if number == 2 else 0.1} for number, row in enumerate(rows)]
    file = pairs.with_name(f"bad-{type(value).__name__}-{value}.json")
    file.write_text(json.dumps(rows))
    changes = [
        *small,
        f"data.path={file}",
        "data.columns=[strength]",
        "objective=[{loss: dpo, beta: {column: strength}}]",
    ]
    with pytest.raises(DataError) as caught:
        run(load_recipe(RECIPES / "llava_mdpo.yaml", changes))
    text = str(caught.value)
    assert f"{file.name} row 3" in text
    assert said in text


def test_a_column_that_the_rows_do_not_have_is_named_with_the_option_that_reads_it(small: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "llava_mdpo.yaml", [*small, BY_COLUMN])
    assert "objective.0: needs the column 'strength'" in str(caught.value)
    assert "data.columns" in str(caught.value) or "columns" in str(caught.value)


def test_the_schema_for_editors_knows_both_forms() -> None:
    [dpo] = [
        each
        for each in recipe_schema()["properties"]["objective"]["items"]["oneOf"]
        if each["properties"].get("loss") == {"const": "dpo"}
    ]
    number, by_row = dpo["properties"]["beta"]["anyOf"]
    assert number == {"type": "number", "exclusiveMinimum": 0}
    column, *strengths = recipe_schema()["$defs"][by_row["$ref"].removeprefix("#/$defs/")]["oneOf"]
    assert list(column["properties"]) == ["column"]
    assert {"const": "beta_dpo"} in [each["properties"]["strength"] for each in strengths]
    assert dpo["properties"]["reference_free"]["type"] == "boolean"
