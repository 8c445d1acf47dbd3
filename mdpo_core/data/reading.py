"""Opens the data of a recipe and checks every row, before a model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mdpo_core.data.checking import CheckedData, check_data, open_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.held_out import split
from mdpo_core.data.picture_keys import num_shared_pictures
from mdpo_core.errors import DataError
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
    data, validation = open_data(recipe.data), _opened_validation(recipe)
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
    checked = world.computed_by_main(lambda: _checked(recipe, data, validation, builder, world))
    held_out = checked.held_out and replace(checked.held_out, data=data if validation is None else validation)
    return replace(checked, data=data, held_out=held_out), builder


def _checked(
    recipe: Recipe, data: Sequence[Example], validation: Sequence[Example] | None, builder: BatchBuilder, world: World
) -> CheckedData:
    """The result of the check without the data: every process opens its own."""
    checked = check_data(data, builder, progress_of("checking data", world), recipe.train.workers)
    checked.require_valid(quarantine=recipe.data.bad_rows == "quarantine")
    if recipe.data.hold_out is not None:
        checked = split(checked, recipe.data.hold_out)
    elif validation is not None:
        checked = replace(checked, held_out=_checked_validation(recipe, validation, builder, world))
        _warn_of_shared_pictures(checked)
    for part in (checked, checked.held_out):
        if part is not None:
            builder.build(part.valid_examples(), [0], epoch=0)  # encodes one row before a model is loaded
    held_out = checked.held_out and replace(checked.held_out, data=())
    return replace(checked, data=(), held_out=held_out)


def _opened_validation(recipe: Recipe) -> Sequence[Example] | None:
    with _in_validation():
        return None if recipe.validation is None else open_data(recipe.validation)


def _checked_validation(
    recipe: Recipe, validation: Sequence[Example], builder: BatchBuilder, world: World
) -> CheckedData:
    assert recipe.validation is not None, "rows without the section that reads them"
    with _in_validation():
        checked = check_data(validation, builder, progress_of("checking validation", world), recipe.train.workers)
        checked.require_valid(quarantine=recipe.validation.bad_rows == "quarantine")
    return checked


@contextmanager
def _in_validation() -> Iterator[None]:
    """Problems are of the section ``validation``, and say so."""
    try:
        yield
    except DataError as error:
        problems = [replace(each, where=f"validation: {each.where}".rstrip(": ")) for each in error.problems]
        raise DataError(problems) from error


def _warn_of_shared_pictures(checked: CheckedData) -> None:
    assert checked.held_out is not None, "no rows of a validation"
    shared = num_shared_pictures(checked.keys, checked.held_out.keys)
    if shared:
        logging.getLogger(__name__).warning(
            "validation: %d of its pictures are also in the rows to train on, so what is measured on them may be what "
            "the model remembers",
            shared,
        )
