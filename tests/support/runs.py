"""Runs in the process of the test."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path

import pytest

from mdpo_core import MdpoError, Recipe, load_recipe, run
from mdpo_core.training import trainer
from support.paths import LLAVA_MDPO


def train(changes: list[str], folder: Path, resume: bool = False) -> Path:
    return run(load_recipe(LLAVA_MDPO, [*changes, f"output.dir={folder}"]), resume=resume).run_dir


def stop_after(step: int, recipe: Recipe, folder: Path) -> None:
    """Run with a request to stop after ``step`` steps, as a signal makes it."""
    asked = count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "asked_to_stop", lambda world: signal.SIGTERM if next(asked) == step else None)
        with pytest.raises(MdpoError, match=f"stopped after step {step} of "):
            run(recipe, run_dir=folder)
