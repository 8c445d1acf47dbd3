"""Schedules that need more steps than a run has, found before the model is loaded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import LLAVA_MDPO, RECIPES

from mdpo_core import RecipeError, load_recipe
from mdpo_core.data.reading import read_data
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.checks.steps import require_enough_steps
from mdpo_core.training.schedule import learning_rate

RECIPE = RECIPES / "quickstart.yaml"
WARM = "train.warmup_steps: 100 is not below the steps of the run, so no step would come after the warm-up"
DECAY = "train.schedule=warmup_stable_decay"
RESTARTS = "train.schedule=cosine_with_restarts"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.warmup_steps=100"], f"{WARM}: the run has 3 steps; set it to 0, for example, or train longer"),
        (["train.warmup_steps=3"], "train.warmup_steps: 3 is not below the steps of the run"),
        (
            [DECAY, "train.warmup_steps=1", "train.schedule_options={num_decay_steps: 5}"],
            "train.schedule_options.num_decay_steps: 5 is more than the 2 steps after the warm-up of 1: the run has 3",
        ),
        (
            [RESTARTS, "train.warmup_ratio=0.0", "train.schedule_options={num_cycles: 4}"],
            "train.schedule_options.num_cycles: 4 is more than the 3 steps after the warm-up of 0: the run has 3 steps",
        ),
    ],
)
def test_schedules_that_are_longer_than_max_steps_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(RECIPE, ["train.max_steps=3", *changes])
    assert message in str(error.value)


def test_the_steps_of_epochs_are_compared_when_the_rows_are_known(changes: list[str]) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*changes, "train.warmup_steps=100"])
    with pytest.raises(RecipeError, match=WARM):
        read_data(recipe)
    read_data(load_recipe(LLAVA_MDPO, [*changes, "train.warmup_steps=1"]))


@given(st.integers(0, 12), st.integers(1, 10))
def test_a_warm_up_is_taken_if_a_step_with_the_whole_rate_comes_after_it(warmup: int, num_steps: int) -> None:
    train = Train(warmup_steps=warmup, schedule="constant", learning_rate=1.0)
    whole = [step for step in range(num_steps) if learning_rate(train, step, num_steps) == 1.0]
    try:
        require_enough_steps(train, num_steps)
    except RecipeError:
        assert len(whole) <= 1
        assert warmup
    else:
        assert len(whole) > 1 or not warmup
