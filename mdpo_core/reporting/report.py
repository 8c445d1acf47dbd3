"""The report of a run that has just trained: `report.html` in its directory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mdpo_core.remedies import either
from mdpo_core.storage.files import atomic_write

if TYPE_CHECKING:
    from mdpo_core.data.encoding import TrainingData
    from mdpo_core.interfaces.model import VisionLanguageModel
    from mdpo_core.recipe.recipe import Recipe
    from mdpo_core.storage.run_directory import RunDirectory


def write_report(recipe: Recipe, directory: RunDirectory, data: TrainingData, model: VisionLanguageModel) -> None:
    """Write the report. The run is done by then, and whatever fails here is a warning that says how to try again."""
    try:
        _write(recipe, directory, data, model)
    except Exception as error:
        run, file = directory.path, directory.report
        again = either(f"mdpo compare {run} --out {file}", f"mdpo.compare(['{run}']).write('{file}')")
        logging.getLogger(__name__).warning(
            "%s was not written (%s: %s); try again: %s", *(file, type(error).__name__, error, again)
        )


def _write(recipe: Recipe, directory: RunDirectory, data: TrainingData, model: VisionLanguageModel) -> None:
    from mdpo_core.reporting.known import known_of
    from mdpo_core.reporting.page.changed_pictures import changed_pictures
    from mdpo_core.reporting.page.run_page import Beside, run_page
    from mdpo_core.reporting.stored_run import read_run
    from mdpo_core.training.optimization import numbers_of_parts

    parts, pictures = numbers_of_parts(recipe, model), changed_pictures(data.builder, data.rows)
    beside = Beside(known_of(recipe, directory.path), parts, pictures)
    atomic_write(directory.report, run_page(read_run(directory.path), beside).encode(errors="backslashreplace"))
