"""The section ``plugins`` of a recipe: files of Python that offer components."""

from __future__ import annotations

from mdpo_core.errors import PluginError, Problem, RecipeError
from mdpo_core.recipe.yaml_document import PLUGINS, Document, shown_value
from mdpo_core.registry.plugin_files import use_plugin_file


def load_plugins(document: Document) -> int:
    """Run the plugin files of a recipe, and return their number.

    Raises `RecipeError` with every file that cannot be used. Their names are then unknown, so nothing else is checked.
    """
    files = document.data.get(PLUGINS, [])
    if not isinstance(files, list):
        raise RecipeError([document.problem((PLUGINS,), f"must be a list of files, found {shown_value(files)}")])
    problems = [problem for index, file in enumerate(files) if (problem := _problem_of(document, index, file))]
    if problems:
        raise RecipeError(problems)
    return len(files)


def _problem_of(document: Document, index: int, file: object) -> Problem | None:
    if not isinstance(file, str) or not file:
        return document.problem((PLUGINS, index), f"must be the path of a Python file, found {shown_value(file)}")
    try:
        use_plugin_file(file)
    except PluginError as error:
        return document.problem((PLUGINS, index), str(error))
    return None
