"""What a stream of rows needs of a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe

STREAMED = [
    "data.streaming=true",
    "reference=adapter_off",
    "train.max_steps=4",
    "train.batch_size=8",
    "train.micro_batch_size=4",
]


@pytest.mark.parametrize("rows", [1, 7])
def test_a_buffer_below_a_step_is_refused_with_the_recipe(rows: int, changes: list[str]) -> None:
    with pytest.raises(RecipeError, match=f"data: gives at most {rows} rows? at once, fewer than train.batch_size: 8"):
        load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, *STREAMED, f"data.shuffle_buffer={rows}"])


def test_a_buffer_of_a_step_is_enough_and_rows_that_are_counted_have_none(changes: list[str], tmp_path: Path) -> None:
    load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, *STREAMED, "data.shuffle_buffer=8"])
    load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, *STREAMED, "data.shuffle_buffer=2", "data.streaming=false"])
