"""The run directory: recipe, manifest, metrics, checkpoints and the final model."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError, DataError, RecipeError, first_line
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.processes.world import World
from mdpo_core.recipe.automatic_probe import PROBE, automatic_probe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import either, option
from mdpo_core.storage.checkpoints import Checkpoints, read_metadata
from mdpo_core.storage.exported import missing_files
from mdpo_core.storage.files import UNFINISHED, atomic_write, read_json_object, remove
from mdpo_core.storage.logged.kept_warnings import keep_warnings
from mdpo_core.storage.metrics_file import MetricsFile, SamplesFile, WarningsFile
from mdpo_core.storage.resuming import (
    goes_on,
    goes_on_from,
    recorded_recipe,
    require_same_code,
    require_same_inputs,
    require_same_recipe,
    with_changed_code,
)
from mdpo_core.storage.run_lock import LOCK


@dataclass(frozen=True)
class RunDirectory:
    """The paths of a run, and checks of whether a run may write there."""

    path: Path
    keep: int = 1

    @property
    def recipe(self) -> Path:
        """The recipe with every default filled in."""
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, plugins, seed and digests at the start of the run."""
        return self.path / "manifest.json"

    @property
    def quarantine(self) -> Path:
        """The bad rows that were left out, and why."""
        return self.path / "quarantine.jsonl"

    @property
    def final(self) -> Path:
        """The exported model after the last step."""
        return self.path / "final"

    @property
    def best(self) -> Path:
        """The exported model that was best by ``output.keep_best``."""
        return self.path / "best"

    @property
    def checked(self) -> Path:
        """The results of the data check; see `StoredChecks`."""
        return self.path / "checked"

    @property
    def reference(self) -> Path:
        """The folder of the cached reference."""
        return self.path / "reference"

    @property
    def metrics(self) -> MetricsFile:
        """Every logged step."""
        return MetricsFile(self.path / "metrics.jsonl")

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def probe(self) -> Path:
        """The log-probs before training with which the probe compares."""
        return self.path / "probe.json"

    @property
    def samples(self) -> SamplesFile:
        """Answers of the policy, at each evaluation that kept some."""
        return SamplesFile(self.path / "samples.jsonl")

    @property
    def warnings(self) -> WarningsFile:
        """What was logged as a warning."""
        return WarningsFile(self.path / "warnings.jsonl")

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run; the newest ``keep`` are kept."""
        return Checkpoints(self.path / "checkpoints", self.keep)

    def claim(self, recipe: Recipe, resume: bool, code: Mapping[str, Any] | None = None) -> None:
        """Raise `RecipeError` unless ``recipe`` may run here; writes nothing.

        ``code``: that of no package, as a manifest holds it; if it has changed since the run began, `CheckpointError`
        says so. None: nobody asks.
        """
        if not self.path.exists() or (self.path.is_dir() and all(map(_may_be_there, self.path.iterdir()))):
            return
        if not self.recipe.is_file():
            raise RecipeError(
                f"{self.path} is not empty and is not a run directory; choose another directory with "
                f"{option('--run-dir DIR')}"
            )
        require_same_recipe(self.recipe, recipe)
        if not resume:
            step = self.checkpoints.newest_step()
            raise RecipeError(
                f"{self.path} already holds this run (newest checkpoint: step {step}); continue with "
                f"{option('--resume')}, or choose another directory with {option('--run-dir DIR')}"
            )
        self._require_readable()
        if not self.final.exists() or goes_on(recorded_recipe(self.recipe), recipe):
            self._require_kept(recipe)
        if code is not None and self.manifest.is_file():
            require_same_code(read_manifest(self.manifest), code, self.path, accept=False)

    def _require_readable(self) -> None:
        """Read the files that a resumed run needs, so that damaged ones are reported before anything is computed."""
        self.checkpoints.require_whole()
        checkpoints = self.checkpoints.all()
        if checkpoints:
            read_metadata(checkpoints[-1])
        # A run that was killed before it wrote the manifest has no checkpoint, either.
        if checkpoints or self.manifest.is_file():
            read_manifest(self.manifest)
        self.metrics.records()
        self.samples.records()
        self.warnings.records()

    def _require_kept(self, recipe: Recipe) -> None:
        """Raise an error if a file that an evaluator wrote before training is missing or damaged."""
        if 0 not in self.metrics.evaluations() and not self.checkpoints.all():
            return
        for evaluator in recipe.evaluators:
            with code_of(evaluator, "require_kept"):
                evaluator.require_kept(self.path)
        probe = automatic_probe(recipe) if self.was_probed() else None
        try:
            if probe is not None:
                probe.require_kept(self.path)
            elif self.probe.is_file():  # the report reads it
                read_json_object(self.probe)
        except (DataError, ValueError) as error:
            what = f"{error}" if isinstance(error, DataError) else f"{self.probe} is damaged ({error}); restore it"
            remove = "remove it and " if self.probe.exists() else ""
            off = either("--set probe=off", "probe=off")
            raise CheckpointError(f"{what}, or {remove}go on without the probe: {off}") from error

    def was_probed(self) -> bool:
        """Whether the probe that no recipe names has measured the run before its first step."""
        return any(name.startswith(f"eval/{PROBE}/") for name in self.metrics.evaluations().get(0, {}))

    def is_finished(self, recipe: Recipe) -> bool:
        """Whether the run has exported its model, and ``recipe`` does not train longer than it did.

        Raises `CheckpointError` if ``final`` exists but is not a model.
        """
        if not self.final.exists() or goes_on_from(self.recipe, recipe):
            return False
        problem = _problem_of_final(self.final)
        if problem:
            raise CheckpointError(
                f"{problem}; move {self.final} away, and {option('--resume')} exports the model again"
            )
        return True

    def require_same_inputs(self, manifest: Mapping[str, Any], *, accept_changed_code: bool = False) -> None:
        """Raise `CheckpointError` if the model, the data or code of no package have changed since the run began.

        ``accept_changed_code``: only warn of code.
        """
        if self.manifest.is_file():
            then = read_manifest(self.manifest)
            require_same_inputs(then, manifest, self.path)
            require_same_code(then, manifest, self.path, accept=accept_changed_code)

    def prepare(self, recipe: Recipe, manifest: Mapping[str, Any]) -> None:
        """Write the recipe, which may differ in a resumed run, and the manifest.

        A manifest that exists only gets the digests of code that has changed, beside those of the code before.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._set_models_aside()
        # Write the recipe first: with it, this is a run directory, even if the process then stops.
        text = io.BytesIO()
        _yaml().dump(recipe.to_dict(), text)
        atomic_write(self.recipe, text.getvalue())
        new: Mapping[str, Any] | None = manifest
        if self.manifest.is_file():
            new = with_changed_code(read_manifest(self.manifest), manifest, self.checkpoints.newest_step())
        if new is not None:
            atomic_write(self.manifest, json.dumps(new, indent=2).encode() + b"\n")
        keep_warnings(self.warnings)

    def _set_models_aside(self) -> None:
        """Rename the models of a finished run that goes on: ``final-step-000150``.

        A best model without a final one is of an export that was interrupted; both are made again.
        """
        if not self.final.is_dir():
            remove(self.best)
            return
        step = self.checkpoints.newest_step()
        for model in (self.best, self.final):
            aside = model.with_name(f"{model.name}-step-{step:06d}")
            if aside.exists():  # the run went on before, and ended after the same step
                remove(model)
            elif model.is_dir():
                model.rename(aside)

    def require_shared(self, world: World) -> None:
        """Raise `CheckpointError` if a process does not see what the main one has written."""
        seen = world.gather(self.recipe.is_file())
        if not all(seen):
            raise CheckpointError(
                f"process {seen.index(False)} does not see {self.path}; all nodes must share the file system of "
                "output.dir"
            )


def expanded(path: Path) -> Path:
    """The path with ``~`` replaced by the home directory, as in a shell."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise RecipeError(f"{path}: {first_line(error)}; write the full path of the run directory") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run. Raises `CheckpointError` if it is missing or damaged, or has no model or data."""
    try:
        manifest = read_json_object(path)
        for key in ("model", "data"):
            if not isinstance(manifest.get(key), dict):
                raise ValueError(f"'{key}' is missing or not an object")
    except ValueError as error:
        raise CheckpointError(
            f"{path}, which lists the model's files and the data at the start of the run, cannot be read: {error}; "
            f"restore it, or start a new run with {option('--run-dir DIR')}"
        ) from error
    return manifest


def _problem_of_final(folder: Path) -> str:
    """Why a folder is not an exported model; empty if no problem is visible."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        return f"{folder} is empty"
    damaged = next((file for file in files if not _is_whole(file)), None)
    if damaged is not None:
        return f"{damaged} is damaged"
    missing = missing_files(folder)
    return f"{folder / missing[0]} is missing" if missing else ""


def _is_whole(file: Path) -> bool:
    """Whether a file can be read in the format of its ending. Weights are not compared with anything."""
    import safetensors

    try:
        if file.suffix == ".safetensors":
            with safetensors.safe_open(file, "pt"):
                pass
        elif file.suffix == ".json":
            json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError):
        return False
    return True


def _may_be_there(path: Path) -> bool:
    """Whether a file or folder may exist in the directory of a run that has not begun."""
    return path.name.startswith(UNFINISHED) or path.name == LOCK


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    return yaml
