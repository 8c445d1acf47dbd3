"""The run directory: recipe, manifest, metrics, checkpoints and the final model."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import CheckpointError, RecipeError
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.recipe.yaml_document import read_document
from mdpo_core.storage.checkpoints import Checkpoints
from mdpo_core.storage.differences import differences
from mdpo_core.storage.files import UNFINISHED, atomic_write

# These sections decide where a run is kept, who listens, and how it is computed, but not what is computed. A run may
# resume with other values, for example when it lacks memory or time.
_MAY_CHANGE = re.compile(r"(output|trackers|scoring|reference|backend|train\.workers|train\.micro_batch_size)\b")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run, and the rules of who may write there."""

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
    def reference(self) -> Path:
        """The folder of the cached reference."""
        return self.path / "reference"

    @property
    def metrics(self) -> MetricsFile:
        """Every logged step."""
        return MetricsFile(self.path / "metrics.jsonl")

    @property
    def checkpoints(self) -> Checkpoints:
        """What a run resumes from; the newest ``keep`` stay."""
        return Checkpoints(self.path / "checkpoints", self.keep)

    def claim(self, recipe: Recipe, resume: bool) -> None:
        """Check that ``recipe`` may run here, before anything is computed; writes nothing."""
        if not self.path.exists() or (self.path.is_dir() and all(map(_unfinished, self.path.iterdir()))):
            return
        if not self.recipe.is_file():
            raise RecipeError(f"{self.path} is not empty and is not a run directory; choose another with --run-dir DIR")
        different = differences(read_document(self.recipe).data, recipe.to_dict(), _decides)
        if different:
            raise RecipeError(
                f"{self.path} holds the run of another recipe; choose another with --run-dir DIR\n  "
                + "\n  ".join(different)
            )
        if not resume:
            step = self.checkpoints.newest_step()
            raise RecipeError(
                f"{self.path} already holds this run (newest checkpoint: step {step}); continue with --resume, or "
                "choose another directory with --run-dir DIR"
            )

    def require_same_inputs(self, manifest: Mapping[str, Any]) -> None:
        """On a resume, refuse a model or data that have changed."""
        if self.manifest.is_file():
            _require_same_inputs(json.loads(self.manifest.read_text()), manifest, self.path)

    def prepare(self, recipe: Recipe, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, unless it is there, and the recipe, in which a resumed run may differ."""
        self.path.mkdir(parents=True, exist_ok=True)
        # First the recipe, which makes this a run directory, whatever may happen next.
        text = io.BytesIO()
        _yaml().dump(recipe.to_dict(), text)
        atomic_write(self.recipe, text.getvalue())
        if not self.manifest.is_file():
            atomic_write(self.manifest, json.dumps(manifest, indent=2).encode() + b"\n")

    def require_shared(self, world: World) -> None:
        """Raise `CheckpointError` if a process does not see what the main one has written."""
        seen = world.gather(self.recipe.is_file())
        if not all(seen):
            raise CheckpointError(
                f"process {seen.index(False)} does not see {self.path}; all nodes must share the file system of "
                "output.dir"
            )


@dataclass(frozen=True)
class MetricsFile:
    """``metrics.jsonl``: one JSON object a line."""

    path: Path

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the line of a step."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def records(self) -> list[dict[str, float]]:
        """All whole lines; a killed process may have left the last one incomplete."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def truncate(self, step: int) -> None:
        """Forget the steps after ``step``, which a resumed run computes again."""
        kept = [record for record in self.records() if record["step"] <= step]
        atomic_write(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def evaluations(self) -> dict[int, dict[str, float]]:
        """The evaluations by step."""
        return {
            int(record["step"]): {key: value for key, value in record.items() if key.startswith("eval/")}
            for record in self.records()
            if any(key.startswith("eval/") for key in record)
        }


def warn_of_changes(metadata: Mapping[str, Any], recipe: Recipe, world: World) -> None:
    """Warn of settings that keep a resumed run from being identical to the bit."""
    found = differences({"backend": metadata["backend"]}, {"backend": recipe.to_dict()["backend"]})
    if metadata["processes"] != world.size:
        found.append(f"processes: {metadata['processes']} -> {world.size}")
    if found:
        logging.getLogger(__name__).warning(
            "resuming with other settings: sums are taken in another order, so from here on numbers differ by "
            "rounding\n  %s",
            "\n  ".join(found),
        )


def _require_same_inputs(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    for key in ("model", "data"):
        if then[key] != now[key]:
            raise CheckpointError(
                f"the {key} has changed since the run in {path} began ({path / 'manifest.json'}); restore it, or "
                "begin again with --run-dir DIR"
            )


def _unfinished(path: Path) -> bool:
    return path.name.startswith(UNFINISHED)


def _decides(key: str) -> bool:
    return not _MAY_CHANGE.match(key)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    return yaml
