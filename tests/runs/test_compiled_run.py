"""A whole run with compiled layers: few graphs, the same export, and exact resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.paths import RECIPES
from support.processes.launching import contents
from torch._dynamo.utils import counters

from mdpo_core import load_recipe, run

CHANGES = [
    "data.num_pairs=128",
    "evaluators=[{evaluator: digits, num_mosaics: 8}]",
    "trackers=[]",
    "train.micro_batch_size=8",
    "output.save_every=2",
]
COMPILED = "scoring.compile=true"

pytestmark = pytest.mark.nightly(reason="a whole run; test_compilation.py compiles each kind of layer")


def train(folder: Path, *changes: str, resume: bool = False) -> Path:
    return run(load_recipe(RECIPES / "quickstart.yaml", [*CHANGES, *changes]), run_dir=folder, resume=resume).run_dir


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run that nothing stopped, and how many graphs torch made in it."""
    torch.compiler.reset()
    counters.clear()
    return train(tmp_path_factory.mktemp("compiled") / "run", COMPILED), counters["stats"]["unique_graphs"]


def test_training_and_evaluations_take_three_graphs_at_most(compiled: tuple[Path, int]) -> None:
    _, graphs = compiled
    # One more is the function that is compiled before training.
    assert 1 < graphs <= 1 + 3


def test_the_run_gives_the_same_numbers_and_names(compiled: tuple[Path, int], tmp_path: Path) -> None:
    plain, (folder, _) = train(tmp_path / "plain"), compiled
    for ours, theirs in zip(records(folder), records(plain), strict=True):
        assert ours.keys() == theirs.keys()
        for name in {"loss", "grad_norm"} & ours.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
    weights, expected = (load_file(each / "final" / "model.safetensors") for each in (folder, plain))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=0)


def test_a_compiled_run_resumes_to_the_bit(compiled: tuple[Path, int], tmp_path: Path) -> None:
    whole, _ = compiled
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "final")
    shutil.rmtree(stopped / "checkpoints" / "step-000004")
    torch.compiler.reset()
    train(stopped, COMPILED, resume=True)
    assert contents(stopped / "final") == contents(whole / "final")


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
