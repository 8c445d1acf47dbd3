"""Opens the data of a recipe and checks every row, before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mdpo_core.data.checking import CheckedData, check_data, open_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.listeners import progress_of
from mdpo_core.processes.world import ALONE, World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.example import Example


def read_data(recipe: Recipe, world: World = ALONE, *, weights: bool = True) -> tuple[CheckedData, BatchBuilder]:
    """Find the model's files and check every row, without loading the model. Raises `DataError`.

    ``weights``: the model's folder must have them; without them, its configuration and processor are enough.
    """
    if weights:
        with code_of(recipe.model, "check"):
            recipe.model.check()
    with code_of(recipe.model, "encoder"):
        encoder = recipe.model.encoder()
    data = open_data(recipe.data)
    builder = BatchBuilder.for_terms(
        recipe.objective,
        recipe.corruptions,
        encoder,
        recipe.model.max_length,
        recipe.train.seed,
        # One process also needs blank images if weights before the language model train. Otherwise it would not update
        # these weights in a step without images, but several processes would.
        always_images=world.size > 1 or recipe.model.trains_images,
        max_positions=recipe.model.max_positions,
    )
    checked = world.computed_by_main(lambda: _checked(recipe, data, builder, world))
    return replace(checked, data=data), builder


def _checked(recipe: Recipe, data: Sequence[Example], builder: BatchBuilder, world: World) -> CheckedData:
    """The result of the check without the data: every process opens its own."""
    checked = check_data(data, builder, progress_of("checking data", world), recipe.train.workers)
    checked.require_valid(quarantine=recipe.data.bad_rows == "quarantine")
    builder.build(checked.valid_examples(), [0], epoch=0)  # encodes one row before a model is loaded
    return replace(checked, data=())
