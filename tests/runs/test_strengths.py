"""Whole runs with strengths: the batch is that of all processes, and a stopped run goes on to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import contents, launch, records, require_same_training
from support.runs import stop_after

from mdpo_core import load_recipe, run

pytestmark = pytest.mark.long

# Steep, so that a wrong mean is seen after a few steps.
STRENGTHS = (
    "objective=[{loss: dpo, label: text, beta: {strength: beta_dpo, alpha: 20.0, least: 0.01}}, "
    "{loss: dpo, label: picture, over: chosen@crop, weight: {strength: beta_dpo, beta: 1.0, alpha: 20.0}}]"
)
NUMBERS = ("strength/beta/text", "strength/weight/picture")


@pytest.fixture(scope="module")
def by_batch(changes: list[str]) -> list[str]:
    return [*changes, STRENGTHS]


@pytest.fixture(scope="module")
def one(by_batch: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, with two micro-batches a step, that nothing stopped."""
    return run(load_recipe(LLAVA_MDPO, by_batch), run_dir=tmp_path_factory.mktemp("one") / "run").run_dir


def test_the_strength_of_a_batch_follows_its_margins(one: Path) -> None:
    for name, first in zip(NUMBERS, (0.1, 1.0), strict=True):
        numbers = [record[name] for record in records(one)]
        assert numbers[0] == pytest.approx(first)  # as the policy is the reference
        assert len(set(numbers)) == len(numbers) == 6


# Step 3 lies between two checkpoints; the last step of an epoch has fewer rows.
def test_a_stopped_run_goes_on_to_the_byte(by_batch: list[str], one: Path, tmp_path: Path) -> None:
    recipe, folder = load_recipe(LLAVA_MDPO, by_batch), tmp_path / "stopped"
    stop_after(3, recipe, folder)
    run(recipe, run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(one / "final")
    for name in NUMBERS:
        assert [record[name] for record in records(folder)] == [record[name] for record in records(one)]


def test_two_processes_have_the_batch_of_one(by_batch: list[str], one: Path, tmp_path: Path) -> None:
    """Each has one micro-batch a step, so that no second forward measures the batch."""
    finished = launch(by_batch, tmp_path / "two", "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    require_same_training(tmp_path / "two", one, 1e-5)
    for two_record, one_record in zip(records(tmp_path / "two"), records(one), strict=True):
        for name in NUMBERS:
            assert two_record[name] == pytest.approx(one_record[name], rel=1e-4), name
