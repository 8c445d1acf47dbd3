"""Runs in the process of the test."""

from __future__ import annotations

from pathlib import Path

from mdpo_core import load_recipe, run
from support.paths import LLAVA_MDPO


def train(changes: list[str], folder: Path, resume: bool = False) -> Path:
    return run(load_recipe(LLAVA_MDPO, [*changes, f"output.dir={folder}"]), resume=resume).run_dir
