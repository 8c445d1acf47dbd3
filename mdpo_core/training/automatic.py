"""Which evaluators measure a run: those of its recipe, and the probe."""

from __future__ import annotations

from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.recipe.automatic_probe import automatic_probe, why_not_probed
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.training.evaluation import TrainedPolicy


def evaluators_of(recipe: Recipe, policy: TrainedPolicy, directory: RunDirectory) -> tuple[Evaluator, ...]:
    """The evaluators that measure the run in ``directory``."""
    probe = automatic_probe(recipe)
    if probe is None or why_not_probed(probe, policy.size, policy.held_out or policy.trained_on):
        return recipe.evaluators
    if not policy.world.computed_by_main(lambda: _began_probed(directory)):
        return recipe.evaluators
    return (*recipe.evaluators, probe)


def _began_probed(directory: RunDirectory) -> bool:
    """Whether the probe measured before training: true of a run that begins, false of one that began without it."""
    return directory.was_probed() if 0 in directory.metrics.evaluations() else not directory.checkpoints.all()
