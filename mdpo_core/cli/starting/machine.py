"""What `mdpo check` says of the machine: libraries that are missing, and devices that it does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdpo_core.errors import Problem
    from mdpo_core.recipe.recipe import Recipe

# An optimizer that refuses all of these in the same words refuses none of them for its kind.
_DEVICES = ("cpu", "cuda", "mps")


def require_libraries(recipe: Recipe) -> None:
    """Raise `RecipeError` with what a run would refuse on every machine with these packages: see `Tracker.check`."""
    from mdpo_core.errors import MdpoError, Problem, RecipeError
    from mdpo_core.training.trackers import check_trackers

    found = [*_of_optimizer(recipe)]
    for position, tracker in enumerate(recipe.trackers):
        try:
            check_trackers([tracker])
        except MdpoError as error:
            found.append(Problem("", f"trackers.{position}", str(error)))
    if found:
        raise RecipeError(found)


def _of_optimizer(recipe: Recipe) -> Iterator[Problem]:
    from mdpo_core.errors import MdpoError, Problem
    from mdpo_core.interfaces.plugin_results import code_of

    optimizer, told = recipe.train.chosen_optimizer, set()
    for device in _DEVICES:
        try:
            with code_of(optimizer, "check"):
                optimizer.check(device)
            return
        except MdpoError as error:
            told.add(str(error))
    if len(told) == 1:
        yield Problem("", "", told.pop())


def lacks(recipe: Recipe) -> Iterator[str]:
    """Why a run of the recipe would not train on this machine, in a line; nothing if it would."""
    from mdpo_core.errors import MdpoError
    from mdpo_core.interfaces.plugin_results import code_of
    from mdpo_core.processes.world import current_world

    try:
        with code_of(recipe.backend, "check"):
            recipe.backend.check(recipe.train, current_world())
    except MdpoError as error:
        yield f"  note       not on this machine: {error}"
