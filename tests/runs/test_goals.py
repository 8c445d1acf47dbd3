"""The best model is kept, and a run ends early: real runs, stopped and resumed, alone and in two processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from safetensors.torch import load_file
from support.paths import LLAVA_MDPO
from support.processes.launching import begin, contents, kill, launch, records, wait_for_step
from support.runs import train

from mdpo_core import Evaluator, Policy, RecipeError, hookimpl, load_recipe, register, run
from mdpo_core.registry.discovery import current_registry
from mdpo_core.storage.exported import best_of

WATCHED = "eval/preference/loss"
GOALS = [
    "data.hold_out={rows: 3}",
    "evaluators=[{evaluator: preference, every: 1}]",
    "train.epochs=4",
    "output.save_every=3",
    "output.keep=1",
]


class Scripted(Evaluator):
    """Gives these values, step by step."""

    values: ClassVar[Mapping[int, float]] = {}

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"value": self.values.get(step, 0.0)}


class Listener:
    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []

    @hookimpl
    def mdpo_stopped_early(self, step: int, reason: str) -> None:
        self.told.append((step, reason))


@pytest.fixture
def scripted(changes: list[str], own_registry: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Changes for a run whose evaluations after steps 1, 2, ... are the given values."""
    register("scripted", Scripted)

    def words(*values: float) -> list[str]:
        monkeypatch.setattr(Scripted, "values", dict(enumerate(values, start=1)))
        every = "evaluators=[{evaluator: scripted, every: 1}]"
        return [*changes, every, "output.save_every=4", "output.keep=1"]

    return words


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())


@pytest.mark.long
def test_the_best_checkpoint_is_kept_and_exported(scripted: Callable[..., list[str]], tmp_path: Path) -> None:
    words = [*scripted(1, 3, 2, 3, 0, 1)]
    folder = train([*words, "output.keep_best={metric: eval/scripted/value}"], tmp_path / "run")
    assert steps(folder) == [2, 6]
    told = {"metric": "eval/scripted/value", "step": 2, "value": 3.0}
    assert json.loads((folder / "best" / "exported.json").read_text())["best"] == told
    assert best_of(folder / "best") == "eval/scripted/value 3 after step 2"
    assert best_of(folder / "final") == ""
    short = train([*words, "output.save_every=1", "output.keep=9"], tmp_path / "all")
    best, final = (load_file(folder / name / "adapter_model.safetensors") for name in ("best", "final"))
    from mdpo_core.storage.export import export_run

    export_run(short, tmp_path / "second", step=2)
    second = load_file(tmp_path / "second" / "adapter_model.safetensors")
    assert all((best[name] == second[name]).all() for name in second)
    assert any((best[name] != final[name]).any() for name in final)


def test_a_run_ends_early_and_leaves_what_a_whole_one_leaves(
    scripted: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = [*scripted(1, 2, 2, 1, 5, 6), "train.log_every=3"]
    early = "train.stop_early={metric: eval/scripted/value, patience: 2}"
    heard = Listener()
    current_registry().plugins.register(heard)
    try:
        folder = train([*words, early], tmp_path / "run")
    finally:
        current_registry().plugins.unregister(heard)
    reason = "eval/scripted/value did not get better in 2 evaluations (larger is better; best: 2 after step 2)"
    assert heard.told == [(4, reason)]
    lines = records(folder)
    assert {line["step"] for line in lines} == {0, 1, 2, 3, 4}
    assert [line["step"] for line in lines if "loss" in line] == [3, 4]
    assert steps(folder) == [4]
    assert (folder / "final" / "adapter_model.safetensors").is_file()
    assert run(load_recipe(LLAVA_MDPO, [*words, early, f"output.dir={folder}"]), resume=True).final == folder / "final"


def test_evaluators_of_the_end_measure_when_a_run_ends_early(
    scripted: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = [*scripted(2, 1, 1, 1, 1, 1), "data.hold_out={rows: 3}"]
    both = "evaluators=[{evaluator: scripted, every: 1}, {evaluator: preference}]"
    early = "train.stop_early={metric: eval/scripted/value, patience: 1}"
    lines = records(train([*words, both, early], tmp_path / "run"))
    assert [line["step"] for line in lines if WATCHED in line] == [0, 2]
    assert len([line for line in lines if line["step"] == 2 and "eval/scripted/value" in line]) == 1


def test_a_metric_that_only_a_run_can_miss_ends_it_before_the_first_step(
    scripted: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = [*scripted(1), "output.keep_best={metric: eval/scripted/valeu}"]
    with pytest.raises(RecipeError, match="'eval/scripted/valeu' is not measured; did you mean 'eval/scripted/value'"):
        train(words, tmp_path / "run")


@pytest.mark.long
def test_a_killed_run_keeps_and_ends_as_one_that_nothing_stopped(changes: list[str], tmp_path: Path) -> None:
    words = [
        *changes,
        *GOALS,
        f"output.keep_best={{metric: {WATCHED}, mode: min}}",
        f"train.stop_early={{metric: {WATCHED}, min_delta: 100, patience: 5}}",
    ]
    whole, folder = train(words, tmp_path / "whole"), tmp_path / "killed"
    assert max(line["step"] for line in records(whole)) < 8  # of 8: it ended early
    for lines in (3, 6, 9):
        with begin(words, folder, *(["--resume"] if folder.exists() else [])) as process:
            wait_for_step(process, folder, lines)
            kill(process.pid)
            process.communicate()
    train(words, folder, resume=True)
    assert steps(folder) == steps(whole)
    for name in ("best", "final"):
        assert contents(folder / name) == contents(whole / name)
    judged = [[json.dumps(line[WATCHED]) for line in records(each) if WATCHED in line] for each in (folder, whole)]
    assert judged[0] == judged[1]


@pytest.mark.long
def test_two_processes_decide_alike(changes: list[str], tmp_path: Path) -> None:
    words = [
        *changes,
        *GOALS,
        f"output.keep_best={{metric: {WATCHED}, mode: min}}",
        f"train.stop_early={{metric: {WATCHED}, min_delta: 100, patience: 2}}",
    ]
    alone, two = train(words, tmp_path / "alone"), tmp_path / "two"
    finished = launch(words, two, "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    assert steps(alone) == steps(two)
    assert (two / "best" / "adapter_model.safetensors").is_file()


@pytest.mark.long
def test_a_finished_run_goes_on_when_it_is_asked_for_more_epochs(
    changes: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*changes, "train.schedule=constant", "train.warmup_steps=0"]
    folder = train(words, tmp_path / "run")
    first = contents(folder / "final")
    caplog.clear()
    train([*words, "train.epochs=4"], folder, resume=True)
    assert "goes on, with a larger train.epochs: from here on its learning rates are those of" in caplog.text
    whole = train([*words, "train.epochs=4"], tmp_path / "whole")
    assert contents(folder / "final") == contents(whole / "final")
    assert contents(folder / "final-step-000006") == first
    assert [line["step"] for line in records(folder)] == [line["step"] for line in records(whole)]


@pytest.mark.long
def test_an_interrupted_export_is_made_again(scripted: Callable[..., list[str]], tmp_path: Path) -> None:
    words = [*scripted(1, 3, 2, 3, 0, 1), "output.keep_best={metric: eval/scripted/value}"]
    folder = train(words, tmp_path / "run")
    best = contents(folder / "best")
    shutil.rmtree(folder / "final")
    (folder / "best" / "adapter_config.json").unlink()
    train(words, folder, resume=True)
    assert contents(folder / "best") == best
    assert not list(folder.glob("*-step-*"))


def test_a_run_does_not_become_shorter(changes: list[str], tmp_path: Path) -> None:
    folder = train([*changes, "train.epochs=2"], tmp_path / "run")
    with pytest.raises(RecipeError, match=r"train\.epochs: 2 there, 1 here"):
        train([*changes, "train.epochs=1"], folder, resume=True)
