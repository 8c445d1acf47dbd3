"""The input of the commands: valid rows, models, and a key of everything that the results depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mdpo_core.data.checking import CheckedData, check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import DataError, Problem, RecipeError, suggestion
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.listeners import progress_of
from mdpo_core.recipe.checks.needs import Need, needs_of_corruption
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import option
from mdpo_core.storage.exported import EXPORTED, digests, require_as_exported
from mdpo_core.storage.manifest import describe, reference_key
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.types.batch import EncodedRow
from mdpo_core.types.example import Example
from mdpo_core.types.view import CLEAN, View

# A folder with one of these files holds a model that transformers or peft saved.
_MARKS = ("config.json", "adapter_config.json")


class TextsOnly(BatchBuilder):
    """Refuses rows whose responses are conversations."""

    def encode(self, example: Example, data: Sequence[Example], epoch: int) -> EncodedRow:
        for name, response in example.responses.items():
            if not isinstance(response, str):
                message = f"the response '{name}' is a conversation; this command only takes single answers"
                raise DataError([Problem(f"example '{example.id}'", "", message)])
        return super().encode(example, data, epoch)


class AllResponses(TextsOnly):
    """Encodes all responses of a row, each with the clean image."""

    def of_own_fields(self) -> Self:
        return self

    def encode(self, example: Example, data: Sequence[Example], epoch: int) -> EncodedRow:
        views = tuple(View(name) for name in example.responses)
        return TextsOnly.encode(replace(self, views=views), example, data, epoch)


@dataclass(frozen=True)
class CheckedInput:
    """The checked rows of a recipe, and the builder that encodes them."""

    recipe: Recipe
    checked: CheckedData
    builder: BatchBuilder

    @classmethod
    def read(cls, recipe: Recipe, data: Sequence[Example], builder: BatchBuilder) -> CheckedInput:
        """Read and check every row. Raises `DataError` as training does, except for responses that are not needed."""
        same = recipe.data.duplicates == "quarantine"
        checked = check_data(data, builder, progress_of("checking data"), recipe.train.workers, without_duplicates=same)
        checked.require_valid(quarantine=recipe.data.most_bad)
        return cls(recipe, checked, builder)

    def source_row(self, index: int) -> int:
        """The number in the data, from 1, of the valid row at ``index``."""
        return self.checked.rows[index] + 1

    def key(self, settings: Mapping[str, Any], models: Mapping[str, Path | None]) -> dict[str, Any]:
        """Everything that results depend on, as JSON holds it; ``models``: folders of exported models, by option."""
        manifest = describe(self.recipe, self.checked)
        key = reference_key(self.recipe, manifest, self.builder)
        exported = {name: digests(folder) for name, folder in models.items() if folder is not None}
        for name, folder in models.items():
            if folder is not None:
                require_as_exported(folder, exported[name], manifest["model"])
        found: dict[str, Any] = json.loads(json.dumps({**settings, **exported, **key}))
        return found


def builder_of(recipe: Recipe, views: tuple[View, ...]) -> BatchBuilder:
    """The builder that encodes the rows of a recipe under ``views``; its objective does not matter."""
    conditions = {view.condition for view in views}
    used = {name: corruption for name, corruption in recipe.corruptions.items() if name in conditions}
    needs = [Need("responses", view.response) for view in views]
    needs += [need for name, corruption in used.items() for need in needs_of_corruption(name, corruption)]
    model, needed = recipe.model, tuple(dict.fromkeys(needs))
    return TextsOnly(
        model.encoder(),
        views,
        used,
        (),
        model.max_length,
        recipe.train.seed,
        needs=needed,
        max_positions=model.max_positions,
    )


def require_jsonl(out: Path) -> None:
    """Raise `DataError` for a file name that does not end in .jsonl."""
    if out.suffix != ".jsonl":
        raise DataError([Problem(str(out), "", f"{option('--out')} must name a JSON Lines file, which ends in .jsonl")])


def require_condition(recipe: Recipe, name: str) -> None:
    """Raise `RecipeError` for a condition that the recipe does not have."""
    if name != CLEAN and name not in recipe.corruptions:
        known = (CLEAN, *recipe.corruptions)
        raise RecipeError(
            f"{option(f'--condition {name}')}: the recipe does not define this condition under corruptions"
            f"{suggestion(name, known)}  ({', '.join(known)})"
        )


def load(recipe: Recipe, folder: Path | None) -> VisionLanguageModel:
    """The recipe's untrained model, or the model that a run of the recipe exported to ``folder``."""
    placement = placement_of(recipe.backend)
    if folder is None:
        with code_of(recipe.model, "load"):
            return recipe.model.load(placement, trainable=False)
    with code_of(recipe.model, "load_exported"):
        model = recipe.model.load_exported(folder, placement)[1]
    model.set_training(False)
    return model


def require_models(recipe: Recipe, models: Mapping[str, Path | None]) -> None:
    """Raise `RecipeError` for folders, by option, that hold no model as the recipe's is stored; reads no weights.

    Raises `DataError` for a model that is damaged or not of the recipe's kind. What an adapter exports whose own model
    has no config.json, only the adapter knows.
    """
    known = any(file.name == _MARKS[0] for file in recipe.model.files())
    for name, folder in models.items():
        if folder is None:
            continue
        if folder.is_dir() and (not known or _is_model(folder)):
            recipe.model.check_exported(folder, same_base=(folder / EXPORTED).is_file())
            continue
        if not folder.is_dir():
            raise RecipeError(
                f"{option(f'--{name}')}: the folder '{folder}' does not exist; give an exported model, such as final/ "
                "of a run directory"
            )
        final = RunDirectory(folder).final
        hint = f"; did you mean '{final}'?" if _is_model(final) else ""
        raise RecipeError(
            f"{option(f'--{name}')}: '{folder}' does not contain a model: it has neither {' nor '.join(_MARKS)}{hint}"
        )


def _is_model(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)
