"""The variants of the study are the paper's, and differ in nothing but what they vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.paths import RECIPES, ROOT

from benchmarks.study.running import Task
from benchmarks.study.variants import TABLES, VARIANTS
from benchmarks.study.worlds import WORLDS, World
from mdpo_core import load_recipe
from mdpo_core.recipe.recipe import Recipe

# The recipe of the paper's own run of each variant.
OF_THE_PAPER = {
    "mdpo": "llava_mdpo",
    "dpo": "llava_dpo",
    "dpo_no_image": "ablations/llava_dpo_no_image",
    "no_conditional": "ablations/llava_mdpo_no_conditional",
    "no_anchor": "ablations/llava_mdpo_no_anchor",
    "crop_20_50": "ablations/llava_mdpo_crop_20_50",
    "moco_v2": "ablations/llava_mdpo_moco_v2",
    "other_image": "ablations/llava_mdpo_other_image",
    "anchor_rejected": "ablations/llava_mdpo_anchor_rejected",
    "anchor_all": "ablations/llava_mdpo_anchor_all",
}

worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=lambda world: world.name)


def recipe_of(world: World, variant: str, seed: int = 0) -> Recipe:
    return Task(world, VARIANTS[variant], seed, Path("runs")).recipe()


def terms(recipe: Recipe) -> list[dict[str, Any]]:
    """The terms without their labels; instead of a condition's name, the corruption with its options."""
    conditions = recipe.to_dict()["corruptions"]

    def named(value: object) -> object:
        response, at, condition = str(value).partition("@")
        return (response, str(conditions[condition])) if at else value

    found = recipe.to_dict()["objective"]
    return sorted(({key: named(value) for key, value in term.items() if key != "label"} for term in found), key=str)


@worlds
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_the_terms_of_the_paper_s_recipe(world: World, variant: str) -> None:
    paper = load_recipe(RECIPES / f"{OF_THE_PAPER[variant]}.yaml")
    assert terms(recipe_of(world, variant)) == terms(paper)


@worlds
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_differ_in_objective_and_corruptions_alone(world: World, variant: str) -> None:
    one, other = recipe_of(world, "mdpo").to_dict(), recipe_of(world, variant).to_dict()
    assert {name for name in one if one[name] != other[name]} <= {"objective", "corruptions"}


@worlds
def test_a_seed_draws_the_pairs_and_their_order(world: World) -> None:
    one, other = recipe_of(world, "mdpo", 0).to_dict(), recipe_of(world, "mdpo", 1).to_dict()
    assert {name for name in one if one[name] != other[name]} == {"data", "train"}
    assert one["train"] == other["train"] | {"seed": 0}
    assert one["data"] == other["data"] | {"seed": 0}


def test_every_variant_is_in_a_table_and_the_quickstart_s_recipes_are_among_them() -> None:
    assert {name for table in TABLES.values() for name in table} == VARIANTS.keys()
    assert (ROOT / WORLDS["digits"].recipe).parent == RECIPES
