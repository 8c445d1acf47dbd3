"""What a listener hears of a run is what docs/extend/hooks.md says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.paths import ROOT
from torch import Tensor

from mdpo_core import hookimpl, load_recipe, run
from mdpo_core.registry.discovery import current_registry


class Listener:
    """Writes down each call: the hook's name without its prefix, and what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []

    @hookimpl
    def mdpo_progress(self, stage: str, done: int, total: int) -> None:
        self.calls.append(("progress", (stage, done, total)))

    @hookimpl
    def mdpo_model_loaded(self, parts: Mapping[str, Mapping[str, float]]) -> None:
        self.calls.append(("model_loaded", (parts,)))

    @hookimpl
    def mdpo_run_started(self, run_dir: Path, first_step: int, num_steps: int) -> None:
        self.calls.append(("run_started", (run_dir, first_step, num_steps)))

    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("step_finished", (step, dict(metrics))))

    @hookimpl
    def mdpo_checkpoint_saved(self, step: int, path: Path) -> None:
        assert path.is_dir()
        self.calls.append(("checkpoint_saved", (step, path)))

    @hookimpl
    def mdpo_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("evaluated", (step, dict(metrics))))

    @hookimpl
    def mdpo_run_finished(self, run_dir: Path, final: Path) -> None:
        assert any(final.iterdir())
        self.calls.append(("run_finished", (run_dir, final)))

    def told(self, name: str) -> list[tuple[object, ...]]:
        return [told for called, told in self.calls if called == name]


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    heard = Listener()
    current_registry().plugins.register(heard)
    yield heard
    current_registry().plugins.unregister(heard)


@pytest.fixture(scope="module")
def folder(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps over eight digits pairs, which tells the listener."""
    sizes = ["data.num_pairs=8", "train.batch_size=4", "train.micro_batch_size=4", "evaluators.0.num_mosaics=4"]
    words = [*sizes, f"output.dir={tmp_path_factory.mktemp('told') / 'run'}"]
    return run(load_recipe(ROOT / "recipes" / "quickstart.yaml", words)).run_dir


def test_a_run_calls_its_hooks_in_the_documented_order(listener: Listener, folder: Path) -> None:
    called = [name for name, _ in listener.calls if name != "progress"]
    steps = ["step_finished", "step_finished", "checkpoint_saved"]
    assert called == ["model_loaded", "run_started", "evaluated", *steps, "evaluated", "run_finished"]
    assert listener.calls[0][0] == "progress"
    page = (ROOT / "docs" / "extend" / "hooks.md").read_text()
    documented = re.findall(r"^mdpo_(\w+)\(", page.partition("## Listen")[2], flags=re.MULTILINE)
    assert documented.pop(-2) == "stopped_early"  # which this run is not
    assert documented == ["progress", *dict.fromkeys(called[:2] + called[3:])]


def test_listeners_are_told_what_the_run_directory_holds(listener: Listener, folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    trained = [(line.pop("step"), line) for line in lines if "loss" in line]
    assert listener.told("step_finished") == trained
    measured = [
        (line.pop("step"), {key: value for key, value in line.items() if key != "epoch"})
        for line in lines
        if "loss" not in line
    ]
    assert listener.told("evaluated") == measured
    [(parts,)] = listener.told("model_loaded")
    assert isinstance(parts, Mapping)
    weights = load_file(folder / "final" / "model.safetensors")
    assert sum(part["trained"] + part["frozen"] for part in parts.values()) == sum(map(Tensor.numel, weights.values()))
    assert listener.told("run_started") == [(folder, 0, 2)]
    assert listener.told("checkpoint_saved") == [(2, folder / "checkpoints" / "step-000002")]
    assert listener.told("run_finished") == [(folder, folder / "final")]


def test_progress_counts_up_to_its_total_in_each_stage(listener: Listener, folder: Path) -> None:
    checked = [(done, total) for stage, done, total in listener.told("progress") if stage == "checking data"]
    assert checked == [(row, 8) for row in range(1, 9)]
    told = [stage for stage, *_ in listener.told("progress")]
    assert list(dict.fromkeys(told)) == [
        "reading the data",
        "checking data",
        "checking validation",
        "loading the model",
        "loading the reference",
        "evaluating",
        "exporting the model",
    ]
    pieces = [(stage, done) for stage, done, total in listener.told("progress") if stage.startswith("loading")]
    assert pieces == [(f"loading the {model}", done) for model in ("model", "reference") for done in (0, 1)]
