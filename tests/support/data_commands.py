"""What the tests of the commands that make data share: rows of few columns, recipes over them, files read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdpo_core import Example, Recipe, load_recipe
from support.pairs import PROMPT
from support.paths import RECIPES

RECIPE = RECIPES / "llava_mdpo.yaml"
QUICKSTART = RECIPE.with_name("quickstart.yaml")
Row = dict[str, Any]


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Rows as JSON lines, with the prompt and a name where they have none."""
    named = [{"name": f"row-{number}", "prompt": PROMPT, **row} for number, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in named))
    return path


def recipe_of(changes: Sequence[str], data: Path, *more: str) -> Recipe:
    return load_recipe(RECIPE, [*changes, f"data.path={data}", "data.id=name", *more], trains=False)


def with_data(recipe: Recipe, reader: Any) -> Recipe:
    return recipe.model_copy(update={"data": reader})


def same_pixels(one: Example, other: Example) -> bool:
    return [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]
