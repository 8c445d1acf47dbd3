"""What a resumed run is told when its recipe differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe
from mdpo_core.remedies import in_words_of_commands
from mdpo_core.storage.resuming import require_same_recipe

QUICKSTART = RECIPES / "quickstart.yaml"


def refusal(file: Path, *changes: str) -> str:
    with in_words_of_commands(), pytest.raises(RecipeError) as error:
        require_same_recipe(file, load_recipe(QUICKSTART, changes))
    return str(error.value)


@pytest.fixture
def longer(tmp_path: Path) -> Path:
    """The recipe of a run that was asked for four epochs."""
    from ruamel.yaml import YAML

    file = tmp_path / "recipe.yaml"
    YAML().dump(load_recipe(QUICKSTART, ["train.epochs=4"]).to_dict(), file)
    return file


def test_a_run_that_was_asked_for_more_says_with_which_option_it_goes_on(longer: Path) -> None:
    said = refusal(longer)
    assert f"{longer.parent} holds this run, which was asked to train longer; go on with --set train.epochs=4" in said
    assert "train.epochs: 4 there, 1 here" in said


def test_a_run_of_another_recipe_gets_another_directory(longer: Path) -> None:
    assert "holds the run of another recipe; choose another directory" in refusal(longer, "train.seed=1")
    require_same_recipe(longer, load_recipe(QUICKSTART, ["train.epochs=5"]))
