"""`train.optimizer`: a component inside a section, in recipes that extend, print and describe themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import jsonschema
import pytest
from mdpo_optimizers import Adafactor, Muon
from ruamel.yaml import YAML
from support.paths import RECIPES

from mdpo_core import AdamW, RecipeError, load_recipe
from mdpo_core.recipe.json_schema import recipe_schema

GOOD = """\
model: {adapter: digits}
data: {reader: digits}
objective: [{loss: dpo}]
backend: {backend: local}
output: {dir: runs/x}
"""
QUICKSTART = RECIPES / "quickstart.yaml"


def written(tmp_path: Path, train: str, more: str = GOOD) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{more}train: {train}\n")
    return file


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("{epochs: 2}", None),
        ("{optimizer: null}", None),
        ("{optimizer: adamw}", AdamW()),
        ("{optimizer: adafactor}", Adafactor()),
        ("{optimizer: {optimizer: muon, momentum: 0.8}, epochs: 3}", Muon(momentum=0.8)),
    ],
)
def test_it_is_a_name_or_a_component_and_survives_its_own_yaml(tmp_path: Path, train: str, expected: object) -> None:
    recipe = load_recipe(written(tmp_path, train))
    assert recipe.train.optimizer == expected
    again = tmp_path / "again.yaml"
    with again.open("w") as out:
        YAML().dump(recipe.to_dict(), out)
    assert load_recipe(again) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    jsonschema.validate(YAML(typ="safe").load((tmp_path / "recipe.yaml").read_text()), recipe_schema())


def test_options_are_set_from_the_command_line_and_python() -> None:
    recipe = load_recipe(QUICKSTART, ["train.optimizer=muon", "train.epochs=2"])
    assert (recipe.train.optimizer, recipe.train.epochs) == (Muon(), 2)
    recipe = load_recipe(QUICKSTART, ["train.optimizer={optimizer: muon}", "train.optimizer.momentum=0.5"])
    assert recipe.train.optimizer == Muon(momentum=0.5)
    assert recipe.with_({"train.optimizer.momentum": 0.7}).train.optimizer == Muon(momentum=0.7)
    assert load_recipe(QUICKSTART, {"train.optimizer": Adafactor()}).train.optimizer == Adafactor()


def test_a_recipe_that_extends_changes_it_and_keeps_the_rest_of_train(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(GOOD + "train: {optimizer: {optimizer: muon, momentum: 0.8}, epochs: 7}\n")
    extends = "extends: base.yaml\n"
    for change, expected in (
        ("{optimizer: {momentum: 0.6}}", Muon(momentum=0.6)),
        ("{optimizer: {optimizer: adafactor}}", Adafactor()),
        ("{optimizer: adafactor}", Adafactor()),
    ):
        train = load_recipe(written(tmp_path, change, extends)).train
        assert (train.optimizer, train.epochs) == (expected, 7)
    base.write_text(GOOD + "train: {optimizer: muon, epochs: 7}\n")
    train = load_recipe(written(tmp_path, "{optimizer: adafactor}", extends)).train
    assert (train.optimizer, train.epochs) == (Adafactor(), 7)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "{optimizer: moun}",
            "recipe.yaml:6: train.optimizer.optimizer: unknown optimizer 'moun'; did you mean 'muon'",
        ),
        ("{optimizer: 3}", "recipe.yaml:6: train.optimizer: must be {optimizer: NAME, ...}, found 3"),
        ("{optimizer: {momentum: 1}}", "train.optimizer: must name one component: {optimizer: NAME, ...}"),
        (
            "{optimizer: {optimizer: muon, momentu: 0.9}}",
            "recipe.yaml:6: train.optimizer.momentu: unknown option; did you mean 'momentum'?",
        ),
        (
            "{optimizer: {optimizer: muon, momentum: 2}}",
            "train.optimizer.momentum: input should be less than 1, found 2",
        ),
        ("{optimizer: {optimizer: adafactor}, epochs: 0}", "train.epochs: input should be greater than 0, found 0"),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path: Path, train: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(tmp_path, train))
    assert message in str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("backend", ["fsdp", "deepspeed"])
def test_a_backend_that_splits_weights_refuses_all_but_adamw(backend: str) -> None:
    change = [f"backend={{backend: {backend}}}", "model.lora={}"]
    assert load_recipe(QUICKSTART, [*change, "train.optimizer=adamw"]).train.optimizer == AdamW()
    with pytest.raises(RecipeError, match=f"train.optimizer: the backend '{backend}' updates weights by torch's AdamW"):
        load_recipe(QUICKSTART, [*change, "train.optimizer=adafactor"])
