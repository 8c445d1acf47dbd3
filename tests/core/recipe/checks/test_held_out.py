"""What held-out rows need of a recipe."""

from __future__ import annotations

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe

VALIDATION = "validation={reader: pairs, path: x.json, image: null}"
NOTHING_HELD_OUT = ["validation=null", "evaluators=[]"]
PREFERENCE = "evaluators=[{evaluator: preference}]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [PREFERENCE],
            "evaluators.0: 'preference' measures held-out rows, and the recipe has none; add hold_out: {share: 0.05} "
            "to data, or a section validation: {reader: ...}",
        ),
        (
            [VALIDATION, "data.hold_out={rows: 2}"],
            "validation: data.hold_out holds out rows, too; take one of the two out of the recipe",
        ),
        (
            ["validation={reader: digits, hold_out: {rows: 1}}"],
            "validation.hold_out: all rows of validation are held out; take this option out",
        ),
        (
            ["data.hold_out={share: 0.1, rows: 1}"],
            "data.hold_out: say how many rows are held out: share: 0.05, or rows: 500, and not both",
        ),
        (["data.hold_out={}"], "data.hold_out: say how many rows are held out"),
        (["data.hold_out={share: 1}"], "data.hold_out.share: input should be less than 1, found 1"),
        (["data.hold_out={share: 0}"], "data.hold_out.share: input should be greater than 0, found 0"),
        (["data.hold_out={share: -0.1}"], "data.hold_out.share: input should be greater than 0, found -0.1"),
        (["data.hold_out={rows: 0}"], "data.hold_out.rows: input should be greater than 0, found 0"),
        (["data.hold_out={rows: -3}"], "data.hold_out.rows: input should be greater than 0, found -3"),
        (["data.hold_out={rows: 2.5}"], "data.hold_out.rows: input should be a valid integer"),
        (["data.hold_out=0.05"], "data.hold_out: input should be a mapping of options"),
        (["validation={reader: pair, path: x}"], "validation.reader: unknown reader 'pair'; did you mean 'pairs'?"),
        (["validation=x.json"], "validation: must be {reader: NAME, ...}, found 'x.json'"),
        (["evaluators=[{evaluator: preference, without: {corruption: blnk}}]"], "did you mean 'blank'?"),
        (["evaluators=[{evaluator: preference, without: {}}]"], "name a corruption and its options"),
        (["evaluators=[{evaluator: preference, without: {corruption: blank, colour: 3}}]"], "colour"),
        (
            ["data.hold_out={rows: 2}", "evaluators=[{evaluator: preference, response: chose}]"],
            "evaluators.0: needs the response 'chose'; did you mean 'chosen'?  (held-out rows have: chosen, rejected)",
        ),
        (
            [
                VALIDATION,
                "evaluators=[{evaluator: preference, without: {corruption: dataset_image, picture: other}}]",
            ],
            "evaluators.0: needs the other image 'other'  (held-out rows have: none); reader 'pairs' gives it with "
            "data.other_images: {other: COLUMN}",
        ),
        (
            [VALIDATION, "objective.0={loss: dpo, over: worse}"],
            "validation: objective.0 needs the response 'worse'  (rows have: chosen, rejected)",
        ),
        (
            ["data={reader: mixture, sources: {a: {reader: digits, hold_out: {rows: 3}}}}"],
            "the source 'a': hold_out counts for the whole mixture; say it at data.hold_out",
        ),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", [*NOTHING_HELD_OUT, *words])
    assert message in str(caught.value)


@pytest.mark.parametrize("word", ["data.hold_out={share: 0.1}", "validation={reader: digits, seed: 3}"])
def test_preference_works_with_either_and_also_with_a_cached_reference(word: str) -> None:
    recipe = load_recipe(RECIPES / "quickstart.yaml", [*NOTHING_HELD_OUT, PREFERENCE, word, "reference=cached"])
    assert load_recipe(RECIPES / "quickstart.yaml", NOTHING_HELD_OUT).validation is None
    assert recipe.to_dict()["evaluators"][0]["without"] == {"corruption": "blank"}
