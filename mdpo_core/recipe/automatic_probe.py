"""The probe that measures every run: whether the preference needs the picture."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from mdpo_core.errors import DataError
from mdpo_core.interfaces.evaluator import Evaluator, RunSize
from mdpo_core.recipe.checks.held_out import lacking_for
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.types.example import Example
from mdpo_core.types.view import CLEAN

PROBE = "probe"
_LOOKED_AT = 20  # rows, of which one must be readable


def automatic_probe(recipe: Recipe) -> Evaluator | None:
    """The probe of a recipe that neither turns it off nor names one; None too if no plugin offers it."""
    cls = current_registry().components("evaluator").get(PROBE)
    if recipe.probe == "off" or cls is None or any(isinstance(each, cls) for each in recipe.evaluators):
        return None
    probe = cls()
    assert isinstance(probe, Evaluator)
    return probe


def run_size(recipe: Recipe, num_steps: int) -> RunSize:
    """How much a run of ``num_steps`` computes."""
    views = {view for term in recipe.objective for view in term.views()}
    conditions = {view.condition for view in views} - {CLEAN}
    return RunSize(num_steps, recipe.train.batch_size, len(views), len(conditions))


def why_not_probed(probe: Evaluator, size: RunSize, rows: Sequence[Example]) -> str:
    """Why the automatic probe does not measure a run on ``rows``; empty if it does."""
    if not probe.fits(size):
        return "the run is too short"
    row = _first_readable(rows)
    if row is None:
        return "no row could be read"
    return "".join(f"it {lacks}" for lacks in list(lacking_for(probe, row))[:1])


def _first_readable(rows: Sequence[Example]) -> Example | None:
    for number in range(min(len(rows), _LOOKED_AT)):
        with suppress(DataError):
            return rows[number]
    return None
