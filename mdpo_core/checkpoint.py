"""Checkpoints: whole or absent, verified when loaded, the newest kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mdpo_core.errors import CheckpointError
from mdpo_core.files import remove_unfinished, sha256, whole_folder
from mdpo_core.protocols import Engine

STATE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoints:
    """The folder ``checkpoints/`` of a run: ``step-NNNNNN/``, each with the digests of its files."""

    folder: Path
    keep: int

    def save(self, engine: Engine, step: int) -> Path:
        """Write the checkpoint after ``step`` finished steps, then remove those that are too old to keep.

        Raises `CheckpointError` on a full disk; the checkpoints that were there stay whole.
        """
        path = self.folder / f"step-{step:06d}"
        with whole_folder(path) as folder:
            engine.save(folder)
            digests = {file.name: sha256(file) for file in sorted(folder.iterdir())}
            (folder / STATE).write_text(json.dumps({"step": step, "sha256": digests}, indent=2) + "\n")
        for old in self.all()[: -self.keep]:
            shutil.rmtree(old)
        return path

    def all(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if (path / STATE).is_file())

    def newest_step(self) -> int:
        """Finished steps of the newest checkpoint, 0 without one."""
        found = self.all()
        return int(found[-1].name.removeprefix("step-")) if found else 0

    def load_newest(self, engine: Engine) -> int:
        """Restore the newest checkpoint and give its number of finished steps, 0 without one."""
        remove_unfinished(self.folder)
        found = self.all()
        if not found:
            return 0
        step = _verify(found[-1])
        engine.load(found[-1])
        return step


def _verify(path: Path) -> int:
    try:
        state = json.loads((path / STATE).read_text())
        step, digests = int(state["step"]), dict(state["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / STATE} is damaged ({error}); remove the folder to resume from an older one"
        ) from error
    for name, digest in digests.items():
        file = path / name
        if not file.is_file() or sha256(file) != digest:
            what = "differs from what was saved" if file.is_file() else "is missing"
            raise CheckpointError(f"{file} {what}; remove {path} to resume from an older checkpoint")
    return step
