"""The names for scripts and notebooks, recipes made in Python, and components without a package."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from support.paths import RECIPES

import mdpo
import mdpo_core
from mdpo_core import PairLoss, RecipeError, Scores, component

pytestmark = pytest.mark.usefixtures("own_registry")


class HalfHinge(PairLoss):
    """A loss that no package offers."""

    def __call__(self, scores: Scores) -> Any:
        return (0.5 - scores.margin(self.prefer, self.over)).clamp(min=0)


def test_the_front_door_has_the_names_of_the_core_and_no_others() -> None:
    assert set(mdpo.__all__) <= {*mdpo_core.__all__, "__version__"}
    assert dir(mdpo) == sorted(mdpo.__all__)
    assert all(getattr(mdpo, name) is getattr(mdpo_core, name) for name in mdpo.__all__)
    with pytest.raises(AttributeError, match="mdpo_core has the names for plugins"):
        mdpo.Batch  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_nothing() -> None:
    code = "import sys, mdpo; print(sorted(name for name in sys.modules if name.startswith(('mdpo', 'torch', 'pyd'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['mdpo']", done.stderr


def test_changes_may_be_a_mapping_of_python_s_values() -> None:
    changed = mdpo.load_recipe(RECIPES / "quickstart.yaml", {"train.seed": 3, "objective.0.beta": 0.2})
    same = mdpo.load_recipe(RECIPES / "quickstart.yaml", ["train.seed=3", "objective.0.beta=0.2"])
    assert changed == same
    assert changed.with_({"train.seed": 0, "objective.0.beta": 0.1}) == mdpo.load_recipe(RECIPES / "quickstart.yaml")


def test_a_recipe_may_be_a_mapping_with_objects() -> None:
    data = mdpo.load_recipe(RECIPES / "quickstart.yaml").to_dict()
    assert mdpo.load_recipe(data) == mdpo.load_recipe(RECIPES / "quickstart.yaml")
    made = mdpo.load_recipe({**data, "objective": [HalfHinge(), component("anchor", "reward", on="chosen")]})
    assert made.labels() == ("0:half_hinge", "1:reward")
    assert made.to_dict()["objective"][0]["loss"] == "half_hinge"


def test_an_object_takes_the_place_of_a_component() -> None:
    recipe = mdpo.load_recipe(RECIPES / "quickstart.yaml", {"objective.0": HalfHinge()})
    assert isinstance(recipe.objective[0], HalfHinge)
    crop = component("corruption", "random_crop", area=(0.1, 0.3))
    changed = recipe.with_({"corruptions.crop": crop, "objective.1.beta": 0.4, "output.dir": "elsewhere"})
    assert changed.corruptions["crop"] is crop
    assert changed.objective[1].beta == 0.4  # type: ignore[attr-defined]
    assert changed.output.dir == Path("elsewhere")
    assert recipe.objective[1].beta == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.sed", 1, "train.sed: 'sed' does not exist; did you mean 'seed'?"),
        ("trian.seed", 1, "trian.seed: 'trian' does not exist; did you mean 'train'?"),
        ("objective.7.beta", 1, "objective.7.beta: '7' does not exist"),
        ("train.seed", -1, "train.seed: Input should be greater than or equal to 0, found -1"),
        ("objective.0.beta", "high", "objective.0.beta: Input should be a valid number"),
        ("corruptions.crop.area", (0.5, 0.1), "corruptions.crop.area:"),
    ],
)
def test_a_change_that_does_not_fit_is_named(key: str, value: Any, message: str) -> None:
    recipe = mdpo.load_recipe(RECIPES / "quickstart.yaml")
    with pytest.raises(RecipeError) as error:
        recipe.with_({key: value})
    assert message in str(error.value)
    assert "--set" not in str(error.value)


def test_a_mapping_that_is_no_recipe_is_named_without_words_of_the_command_line() -> None:
    with pytest.raises(RecipeError) as error:
        mdpo.load_recipe({"model": {"adapter": "digits"}, "train": {"sed": 1}})
    text = str(error.value)
    assert "the recipe: train.sed: unknown option; did you mean 'seed'?" in text
    assert "--set" not in text
    assert typing.get_type_hints(mdpo.load_recipe)["recipe"]


def test_the_examples_of_the_page_work() -> None:
    page = (RECIPES.parent / "docs" / "guides" / "recipes.md").read_text().partition("## From Python")[2]
    first, second = (part.partition("```")[0] for part in page.split("```python\n")[1:3])
    found: dict[str, Any] = {}
    exec(first, found)
    assert (found["recipe"].train.seed, found["longer"].train.epochs) == (1, 2)
    exec(second, found)
    assert found["mine"].labels()[0] == "0:my_loss"


def test_run_takes_a_mapping_or_says_what_it_takes() -> None:
    with pytest.raises(RecipeError, match=r"the recipe: train\.sed: unknown option"):
        mdpo.run({"model": {"adapter": "digits"}, "train": {"sed": 1}})  # as `load_recipe`
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: .*the file does not exist"):
        mdpo.run("nowhere.yaml")


@pytest.mark.parametrize("given", [["a"], 3, None])
def test_what_is_no_recipe_is_told_in_a_sentence(given: Any) -> None:
    for take in (mdpo.load_recipe, mdpo.run):
        with pytest.raises(RecipeError, match="a recipe is the path of a YAML file, the name of a shipped one"):
            take(given)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train.optimizer", r"^train\.optimizer: unknown optimizer 'adamww'; did you mean 'adamw'\?"),
        ("model.adapter", r"^model\.adapter: .*as an object: with_\({'model': component\('adapter', 'adamww'\)}\)$"),
        ("objective.0.loss", r"^objective\.0\.loss: .*with_\({'objective\.0': component\('loss', 'adamww'\)}\)$"),
        ("backend.backend", r"^backend\.backend: .*with_\({'backend': component\('backend', 'adamww'\)}\)$"),
    ],
)
def test_a_wrong_name_of_a_component_is_a_recipe_error(key: str, message: str) -> None:
    recipe = mdpo.load_recipe(RECIPES / "quickstart.yaml")
    with pytest.raises(RecipeError, match=message):
        recipe.with_({key: "adamww"})
    with pytest.raises(RecipeError, match=r"unknown .* 'adamww'"):
        mdpo.load_recipe(RECIPES / "quickstart.yaml", {key: "adamww"})


def test_functions_of_the_front_door_take_and_give_public_types() -> None:
    """A caller can annotate what it hands over without a private import."""
    functions = [each for name in mdpo.__all__ if inspect.isfunction(each := getattr(mdpo, name))]
    words = {word for each in functions for word in re.findall(r"\b[A-Z]\w+", str(inspect.signature(each)))}
    assert words >= {"RecipeLike", "RunResult"}
    assert words - {"Any", "False", "Iterable", "Mapping", "None", "Path", "Sequence", "True"} <= {*mdpo_core.__all__}


def test_changes_take_what_a_recipe_takes() -> None:
    """A name for the optimizer, and ``*`` for every item, as `load_recipe` takes them."""
    recipe = mdpo.load_recipe(RECIPES / "quickstart.yaml")
    changes = {"train.optimizer": "adafactor", "objective.*.beta": 0.2}
    assert recipe.with_(changes) == mdpo.load_recipe(RECIPES / "quickstart.yaml", changes)
