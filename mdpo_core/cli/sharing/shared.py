"""What is shared of a run: the files of its model, and what its card says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.recipe.loading import load_recipe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.storage.exported import EXPORTED, digests, how_to_read, require_as_exported
from mdpo_core.storage.files import read_json_object, sha256
from mdpo_core.storage.run_directory import RunDirectory, expanded, read_manifest
from mdpo_core.training.goals import Goals

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LORA = "adapter_config.json"


@dataclass(frozen=True)
class SharedModel:
    """An exported model of a run. ``base``: what the hub calls the model that was trained; None if nobody said it.

    ``evaluations``: those before the training and those of this model, by name.
    """

    folder: Path
    recipe: Recipe
    manifest: Mapping[str, Any]
    base: str | None
    evaluations: tuple[Mapping[str, float], Mapping[str, float]]

    @property
    def is_lora(self) -> bool:
        """Whether these are LoRA weights, which belong to the model ``base``."""
        return (self.folder / _LORA).is_file()

    @property
    def adapter(self) -> ModelAdapter:
        """The adapter that reads the model."""
        said = how_to_read(self.folder)
        return self.recipe.model if said is None else said[0]

    def files(self) -> dict[str, Path | bytes]:
        """The files to upload, by their name in the repository. They name no folder of this machine."""
        names = digests(self.folder)
        found: dict[str, Path | bytes] = {name: self.folder / name for name in names if name != "README.md"}
        if self.is_lora and self.base is not None:
            found[_LORA] = self._lora_config(self.base)
        if EXPORTED in found:
            found[EXPORTED] = self._said(found[_LORA] if self.is_lora else None)
        return found

    def _lora_config(self, base: str) -> bytes:
        """The configuration of LoRA weights that names ``base``."""
        with TemporaryDirectory() as name:
            file = Path(name) / _LORA
            file.write_bytes((self.folder / _LORA).read_bytes())
            with code_of(self.adapter, "name_base"):
                self.adapter.name_base(file.parent, base)
            return file.read_bytes()

    def _said(self, lora_config: Path | bytes | None) -> bytes:
        """What the folder says of itself, with the base's name on the hub, and the digest of what names it."""
        said = read_json_object(self.folder / EXPORTED)
        if "model" in said:
            path = str(said["model"].get("path", ""))
            said["model"]["path"] = self.base or Path(path).name
        if isinstance(lora_config, bytes):
            with TemporaryDirectory() as name:
                file = Path(name) / _LORA
                file.write_bytes(lora_config)
                said["files"][_LORA] = sha256(file)
        return json.dumps(said, indent=2).encode()


def shared_model(run: Path, base: str | None, *, best: bool, complete: bool) -> SharedModel:
    """The model of a run as it is shared. ``complete``: refuse LoRA weights of a model whose name nobody said.

    Raises `RecipeError` or `DataError` if there is no whole model.
    """
    directory = RunDirectory(expanded(run))
    if not directory.recipe.is_file():
        raise RecipeError(f"'{run}' is not a run directory: it does not contain {directory.recipe.name}")
    folder = directory.best if best else directory.final
    if not folder.is_dir():
        raise RecipeError(f"'{run}' has no {folder.name}/: {_why_missing(best)}")
    recipe = load_recipe(directory.recipe)
    if (folder / EXPORTED).is_file():
        require_as_exported(folder, digests(folder), read_json_object(folder / EXPORTED).get("base", {}))
    evaluations = _evaluations(directory, recipe, best)
    shared = SharedModel(folder, recipe, read_manifest(directory.manifest), base or _hub_name(recipe), evaluations)
    if complete and shared.is_lora and shared.base is None:
        raise RecipeError(
            f"'{folder}' holds LoRA weights, and their model is a folder of this machine; say what the hub calls it "
            "with --base OWNER/NAME, or upload a merged model after mdpo export --merge"
        )
    return shared


def _why_missing(best: bool) -> str:
    if best:
        return "the recipe has no output.keep_best, or the run has not ended; leave --best out"
    return "the run has not ended; continue it with mdpo-run RECIPE --resume"


def _hub_name(recipe: Recipe) -> str | None:
    path = str(getattr(recipe.model, "path", ""))
    return path if _HUB_NAME.fullmatch(path) and not Path(path).exists() else None


def _evaluations(
    directory: RunDirectory, recipe: Recipe, best: bool
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The evaluations before the training, and those of the exported model."""
    by_step = directory.metrics.evaluations()
    if not by_step:
        return {}, {}
    last = max(by_step)
    if best:
        goals = Goals.of(recipe)
        goals.resume(by_step, list(by_step))
        last = last if goals.best_step is None else goals.best_step
    return by_step.get(0, {}), by_step[last]
