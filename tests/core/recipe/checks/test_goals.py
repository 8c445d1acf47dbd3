"""What keep_best and stop_early need of the evaluators, found before anything is loaded."""

from __future__ import annotations

import re

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe

RECIPE = RECIPES / "quickstart.yaml"
EVERY = "evaluators=[{evaluator: digits, every: 10}]"
HELD_OUT = ["validation=null", "data.hold_out={share: 0.1}"]


def problem(*changes: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(RECIPE, changes)
    return str(error.value)


@pytest.mark.parametrize("key", ["output.keep_best", "train.stop_early"])
@pytest.mark.parametrize(
    ("changes", "metric", "message"),
    [
        (["evaluators=[]"], "eval/digits/hallucinated", "no evaluator 'digits' measures 'eval/digits/hallucinated'"),
        ([EVERY], "eval/digit/hallucinated", "no evaluator 'digit' measures"),
        ([EVERY], "eval/digit/hallucinated", "did you mean 'digits'?"),
        ([], "eval/digits/hallucinated", "'digits' measures at the start and the end only; set every: 50 there"),
        ([EVERY], "eval/digits/halucinated", "'digits' does not measure 'halucinated'; did you mean 'hallucinated'?"),
        ([EVERY], "loss", "a metric of an evaluation is called eval/EVALUATOR/METRIC"),
        ([EVERY], "eval//loss", "a metric of an evaluation is called eval/EVALUATOR/METRIC"),
        (
            [*HELD_OUT, "evaluators=[{evaluator: preference, every: 5}]"],
            "eval/preference/rewards/accuracy/image",
            "'preference' does not measure 'rewards/accuracy/image'",
        ),
        (
            [*HELD_OUT, "evaluators=[{evaluator: preference, every: 5}]"],
            "eval/preference/picture/accuracy",
            "'preference' does not measure 'picture/accuracy'; it is called 'logps/accuracy/picture' now",
        ),
    ],
)
def test_a_metric_that_nobody_makes_is_named(key: str, changes: list[str], metric: str, message: str) -> None:
    found = problem(*changes, f"{key}={{metric: {metric}, mode: min}}")
    assert re.search(re.escape(message), found), found
    assert key in found


@pytest.mark.parametrize("key", ["output.keep_best", "train.stop_early"])
@pytest.mark.parametrize(
    ("metric", "mode", "worst"),
    [
        ("eval/preference/loss", "max", "the largest loss"),
        ("eval/preference/loss/text", "max", "the largest loss"),
        ("eval/preference/rewards/accuracy/picture", "min", "the smallest accuracy"),
    ],
)
def test_a_mode_that_keeps_the_worst_model_is_refused(key: str, metric: str, mode: str, worst: str) -> None:
    changes = [*HELD_OUT, "evaluators=[{evaluator: preference, every: 5}]"]
    found = problem(*changes, f"{key}={{metric: {metric}, mode: {mode}}}")
    assert f"mode: {mode} takes {worst} for the best one; leave mode out" in found


def test_metrics_that_are_made_are_taken() -> None:
    changes = [*HELD_OUT, "evaluators=[{evaluator: preference, every: 5}]"]
    recipe = load_recipe(
        RECIPE,
        [
            *changes,
            "output.keep_best={metric: eval/preference/rewards/accuracy/picture}",
            "train.stop_early={metric: eval/preference/loss, mode: min, patience: 2, min_delta: 0.01}",
        ],
    )
    assert recipe.train.stop_early is not None
    assert recipe.train.stop_early.patience == 2
