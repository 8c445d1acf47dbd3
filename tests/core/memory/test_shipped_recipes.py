"""Recipes that name a card fit it, with a tenth of it to spare, by the estimate of `mdpo check --memory`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.builders.long_answers import batch_of
from support.builders.published_sizes import PUBLISHED, write_folder
from support.paths import RECIPES

from mdpo_core import load_recipe
from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimator

SPARE = 0.9
TOKENS = 600  # of the longer answer
# The recipe, the model that it names, GB of the card that it names, and the number of cards.
NAMED = [
    ("llava_mdpo.yaml", "LLaVA-1.5 7B", 80, 1),
    ("llava_mdpo_qlora.yaml", "LLaVA-1.5 7B", 24, 1),
    ("llava_mdpo_zero3.yaml", "LLaVA-1.5 7B", 80, 8),
    ("qwen2_5_vl_mdpo.yaml", "Qwen2.5-VL 3B", 40, 1),
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "model", "card", "processes"), NAMED)
def test_recipe_fits_the_card_that_it_names(name: str, model: str, card: int, processes: int, tmp_path: Path) -> None:
    assert f"{card} GB" in (RECIPES / name).read_text()
    folder = write_folder(PUBLISHED[model], tmp_path / "model")
    recipe = load_recipe(RECIPES / name, [f"model.path={folder}"], processes)
    batch = batch_of(recipe, recipe.train.micro_batch_size, TOKENS)
    assert max(len(item.response) for items in batch.items.values() for item in items) >= TOKENS - 1
    found = Estimator(recipe).estimate(batch, recipe.train, processes)
    assert needed_card(found.peak) <= SPARE * card * 1e9
