"""Finished runs of a tiny LLaVA, which the tests of this room ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core import load_recipe, run

SHORT = ["train.epochs=1", "train.learning_rate=3.0e-2", "output.save_every=1", "reference=auto"]


@pytest.fixture(scope="session")
def lora_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with LoRA that changes what the model says, with the checkpoints of the last two of three steps."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    return run(load_recipe(LLAVA_MDPO, [*changes, *SHORT, f"output.dir={folder}"])).run_dir


@pytest.fixture(scope="session")
def full_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of all weights."""
    folder = tmp_path_factory.mktemp("full") / "run"
    kept = [change for change in changes if not change.startswith("model.lora")]
    return run(load_recipe(LLAVA_MDPO, [*kept, *SHORT, "model.lora=null", f"output.dir={folder}"])).run_dir


@pytest.fixture(scope="session")
def picture(photographs: Path) -> Path:
    return sorted(photographs.iterdir())[0]
