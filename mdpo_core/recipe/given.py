"""What a call may give as its recipe: a `Recipe`, or what `load_recipe` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.recipe.loading import load_recipe
from mdpo_core.recipe.recipe import Recipe

# A recipe, or what `load_recipe` reads: the path of a file, the name of a shipped recipe, or its sections as a mapping.
RecipeLike = Recipe | str | Path | Mapping[str, Any]


def as_recipe(given: RecipeLike) -> Recipe:
    """The recipe as it is, or what `load_recipe` reads from anything else."""
    return given if isinstance(given, Recipe) else load_recipe(given)
