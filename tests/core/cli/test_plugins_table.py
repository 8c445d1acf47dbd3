"""Components and recipes as text: what `mdpo plugins` and `mdpo schema` print."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from jsonschema import Draft202012Validator
from pydantic import Field
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from support.paths import RECIPES

from mdpo_core import ByRow, PairLoss, PluginError, Scores, hookimpl
from mdpo_core.cli import plugins_table
from mdpo_core.recipe.json_schema import recipe_schema
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.registry.offers import KINDS


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """As it is printed."""
    return dict(json.loads(json.dumps(recipe_schema())))


def test_schema_accepts_shipped_recipes_and_refuses_misspellings(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    accepts = Draft202012Validator(schema).is_valid
    recipes = {file.name: YAML(typ="safe").load(file) for file in RECIPES.rglob("*.yaml")}
    assert [name for name, recipe in recipes.items() if not accepts(recipe)] == []
    recipe = recipes["llava_mdpo.yaml"]
    for section, wrong in {
        "train": {"epoch": 3},
        "model": {**recipe["model"], "adapter": "lava"},
        "objective": [{"loss": "dpo", "beta": "0.1"}],
        "corruptions": {"crop": {"corruption": "random_crop", "areas": [0, 0.2]}},
        "data": [recipe["data"]],
    }.items():
        assert not accepts({**recipe, section: wrong}), section


def test_what_the_schema_says_is_the_default_is_accepted_by_it(schema: dict[str, Any]) -> None:
    sections = schema["properties"]
    objects = [sections[name] for name in ("train", "scoring", "output")]
    objects += [choice for name in ("model", "data", "backend") for choice in sections[name]["oneOf"]]
    objects += sections["objective"]["items"]["oneOf"] + sections["corruptions"]["additionalProperties"]["oneOf"]
    options = [option for each in objects for option in each.get("properties", {}).values() if "default" in option]
    assert len(options) > 200
    for option in options:
        Draft202012Validator(option).validate(option["default"])


def test_a_component_without_a_docstring_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(PairLoss):
        def __call__(self, scores: Scores) -> torch.Tensor:
            return -scores.margin(self.prefer, self.over)

    registry = Registry()
    registry.register(SimpleNamespace(mdpo_components=hookimpl(lambda: {"bare": Bare})), "bare")
    monkeypatch.setattr(plugins_table, "current_registry", lambda: registry)
    assert plugins_table.components_text("loss", "bare").startswith(
        "loss: bare  [bare]\n\n  options\n    weight = 1.0  factor"
    )
    assert "loss\n  bare\n" in plugins_table.components_text()
    assert "loss: bare  [bare]\n    options: weight" in plugins_table.components_text("loss")


def test_short_list_has_one_line_of_at_most_100_columns_for_each_component() -> None:
    lines = plugins_table.components_text().splitlines()
    registry = current_registry()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == [name for kind in KINDS for name in sorted(registry.components(kind))]
    assert max(map(len, lines)) <= 100


def test_a_kind_lists_the_names_of_its_options() -> None:
    text = plugins_table.components_text("anchor")
    assert "anchor: reward  [objectives]" in text
    assert "loss:" not in text
    for option in current_registry().get("anchor", "reward").model_fields:
        assert option in text


def test_a_component_is_shown_whole_with_the_options_inside_its_options() -> None:
    text = plugins_table.components_text("adapter", "chat_vlm")
    cls = current_registry().get("adapter", "chat_vlm")
    assert all(line.strip() in text for line in (cls.__doc__ or "").splitlines())
    for option in cls.model_fields:
        assert f"\n    {option} = " in text
    assert "\n    lora.rank = " in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("los",), "unknown kind of component 'los'; did you mean 'loss'?"),
        (("dpo",), "'dpo' is a component of the kind 'loss': mdpo plugins loss dpo"),
        (("loss", "dpoo"), "unknown loss 'dpoo'; did you mean 'dpo'?"),
        (("loss", "p2_dpo"), "once its package is installed, or its file is named under `plugins`"),
        (("losses", "dpo"), "unknown kind of component 'losses'; did you mean 'loss'?"),
    ],
)
def test_an_unknown_kind_or_name_is_told_with_the_nearest(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(PluginError) as error:
        plugins_table.components_text(*words)
    assert message in str(error.value)


def test_words_that_an_option_takes_are_named_once() -> None:
    shown = (
        (FieldInfo(annotation=Literal["a1", "b2"], default="a1", description="how"), "how; one of a1, b2"),
        (FieldInfo(annotation=Literal["a1", "b2"], default="a1", description="or b2"), "or b2"),
        (FieldInfo(annotation=Literal["a1", "b2"] | None, default=None), "one of a1, b2"),
        (FieldInfo(annotation=float, default=1.0, description="how much"), "how much"),
        (
            FieldInfo.from_annotated_attribute(ByRow, Field(default=1.0, description="scale")),
            "scale; may differ by row",
        ),
    )
    for field, text in shown:
        assert plugins_table.description(field) == text
