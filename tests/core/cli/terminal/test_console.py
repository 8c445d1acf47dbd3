"""The terminal output of a run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import Tracker, TrackerLog, load_recipe
from mdpo_core.cli.terminal.console import Console
from mdpo_core.result import RunResult
from mdpo_core.scoring.reference_store import CACHING

RECIPE = RECIPES / "llava_mdpo.yaml"


@pytest.mark.parametrize(
    ("told", "origin"),
    [
        ([(0, 30), (2, 30), (30, 30)], "computed 30 rows"),
        ([(30, 30)], "reused 30 rows"),
        ([(14, 30), (16, 30), (30, 30)], "reused 14 rows, computed 16 rows"),
    ],
)
def test_the_console_tells_where_the_reference_comes_from(
    told: list[tuple[int, int]], origin: str, cached_changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        for done, total in told:
            console.mdpo_progress(CACHING, done, total)
        console.mdpo_run_started(Path("x"), 0, 6)
    assert f"run x: 6 steps; reference: cached ({origin})" in capsys.readouterr().out


def test_a_path_is_printed_as_it_is(cached_changes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.mdpo_run_started(Path("a[/b]:smile:"), 0, 6)
    assert "run a[/b]:smile:: 6 steps" in capsys.readouterr().out


def test_the_console_shows_what_trains_in_each_part(
    cached_changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        "vision": {"trained": 0, "frozen": 3000, "lora_rank": 0, "learning_rate": 0},
        "projector": {"trained": 500, "frozen": 500, "lora_rank": 0, "learning_rate": 2e-5},
        "language": {"trained": 1000, "frozen": 5000, "lora_rank": 64, "learning_rate": 1e-4},
    }
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.mdpo_model_loaded(parts)
    rows = [re.findall(r"[\w.,%+-]+", line) for line in capsys.readouterr().out.splitlines()]
    assert ["vision", "0", "3,000", "0.00%"] in rows
    assert ["projector", "500", "500", "50.00%", "2e-05"] in rows
    assert ["language", "1,000", "5,000", "16.67%", "64", "0.0001"] in rows
    assert ["all", "1,500", "8,500", "15.00%"] in rows


def result_in(folder: Path) -> RunResult:
    (folder / "manifest.json").write_text(json.dumps({"model": {}, "data": {}}))
    return RunResult(folder, folder / "final", {})


def test_evaluations_are_printed_when_they_are_made(
    cached_changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {
        "eval/preference/loss": 0.5,
        "eval/preference/loss/text": 0.25,
        "eval/preference/rewards/accuracy/text": 0.75,
        "eval/digits/wrong_digits": 0.125,
    }
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.greet(Path("my.yaml"), Path("x"))
        console.mdpo_evaluated(3, metrics)
        console.mdpo_stopped_early(3, "it did not get better")
    first, prompts, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"mdpo [\d.]+: my\.yaml -> x", first)
    assert prompts == "prompts: ready: each text is used unchanged, without a chat template"
    assert lines == [
        "evaluated after step 3: preference: loss 0.500  rewards/accuracy/text 0.750",
        "evaluated after step 3: digits: wrong_digits 0.125",
        "stopped early, after step 3 of 0: it did not get better",
    ]


def test_what_no_answer_has_before_training_is_said_in_words(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy, margin = "eval/preference/rewards/accuracy/text", "eval/preference/rewards/margin/text"
    evaluations = {0: {accuracy: 0.0, margin: 0.0}, 6: {accuracy: 1.0, margin: 0.3}}
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.mdpo_evaluated(0, evaluations[0])
        console.summarize(replace(result_in(tmp_path), evaluations=evaluations), ["my.yaml"])
    told, *lines = capsys.readouterr().out.splitlines()
    assert told == "evaluated after step 0: preference: rewards/accuracy/text not yet"
    assert "  preference/rewards/accuracy/text  not yet    1.000" in lines
    assert "  preference/rewards/margin/text      0.000    0.300" in lines
    assert " ".join(lines).count("not yet: before the first step no answer is preferred, ") == 1
    assert max(map(len, lines[: lines.index(f"in {tmp_path}:")])) <= 80


def test_the_summary_says_what_looks_wrong(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"step": step, "loss": 0.6, "rewards/chosen": -0.1 * step} for step in range(1, 11)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.summarize(result_in(tmp_path), ["my.yaml"])
    shown = capsys.readouterr().out
    assert "look at this: the reward of the chosen answers ended below 0 (-1.000)" in shown
    assert "healthy" not in shown


def test_stages_are_plain_lines_without_a_terminal(
    cached_changes: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        for done in (0, 1):
            console.mdpo_progress("loading the model", done, 1)
        for done in range(1, 2001):
            console.mdpo_progress("checking data", done, 2000)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    first, *lines = shown.splitlines()
    assert [first, *(re.sub(r"\d+\.\d s", "T", line) for line in lines)] == [
        "loading the model ...",
        "loading the model: T",
        "checking data ...",
        "checking data: 2,000 rows in T",
    ]


def test_the_summary_says_what_was_trained_and_what_was_not_measured(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"language": {"trained": 1500, "frozen": 5000, "lora_rank": 4, "learning_rate": 1e-4}}
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x", "evaluators=[]"])) as console:
        console.mdpo_model_loaded(parts)
        console.mdpo_run_started(tmp_path, 10, 30)
        console.mdpo_step_finished(20, {"loss": 1.0})
        console.summarize(result_in(tmp_path), ["my.yaml"])
    text = " ".join(capsys.readouterr().out.split())
    assert "trained 1,500 parameters by LoRA on text, picture, anchor: 20 of 30 steps (10 of them now) in" in text
    assert "no held-out numbers: hold_out: {share: 0.02} in data and the evaluator 'preference' would measure" in text
    assert f"mdpo export {tmp_path} --merge --out {tmp_path}-merged" in text


def test_the_summary_names_what_shows_the_trackers(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Raising(Tracker):
        """Whatever a tracker does, the run is done."""

        def start(self, folder: Path) -> TrackerLog:
            raise NotImplementedError

        def shown_by(self, folder: Path) -> str:
            raise KeyError(folder)

    folder = tmp_path / "my run"
    (folder / "tensorboard").mkdir(parents=True)
    changes = [*cached_changes, "trackers=[{tracker: tensorboard}, {tracker: curves}]", "output.dir=x"]
    recipe = load_recipe(RECIPE, changes)
    recipe = recipe.model_copy(update={"trackers": (Raising(), *recipe.trackers)})
    with Console(recipe) as console:
        console.summarize(result_in(folder), ["my.yaml"])
    shown = capsys.readouterr().out
    assert f"\ntrackers:\n  tensorboard       tensorboard --logdir '{folder / 'tensorboard'}'\n\nnext:\n" in shown


def test_a_tracker_that_was_not_reached_is_said_to_be_so(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "http://127.0.0.1:9"
    (tmp_path / "trackers").mkdir()
    words = "the tracker 'wandb' raised CommError: no permission (wandb_log.py:37)"
    failed = [{"position": 0, "started": True, "said": words}, {"position": 1, "started": False, "said": "x: y"}]
    (tmp_path / "trackers" / "failed.json").write_text(json.dumps(failed))
    changes = [*cached_changes, f"trackers=[{{tracker: wandb, mode: online}}, {{tracker: mlflow, uri: '{address}'}}]"]
    with Console(load_recipe(RECIPE, [*changes, "output.dir=x"])) as console:
        console.summarize(result_in(tmp_path), ["my.yaml"])
    shown = capsys.readouterr().out
    assert "\n  wandb             sent to the project mdpo\n" in shown
    assert "\n    not all of it: raised CommError: no permission (wandb_log.py:37)\n" in shown
    assert "\n  mlflow            not reached: x: y\n" in shown
    assert address not in shown


def test_a_run_that_was_finished_before_says_so(
    cached_changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x"])) as console:
        console.summarize(result_in(tmp_path), ["my.yaml"])
    assert "this run was finished before: nothing was left to train" in capsys.readouterr().out


SEED_8 = ["--set", "train.seed=8", "--run-dir", "run-seed8"]


@pytest.mark.parametrize(
    ("folder", "words", "expected"),
    [
        ("run", ["my.yaml"], ["my.yaml", *SEED_8]),
        ("run-seed7", ["my.yaml"], ["my.yaml", *SEED_8]),
        (
            "run",
            ["a b.yaml", "--set", "data.responses={chosen: good, rejected: it's}", "--set", "train.seed=7"],
            ["a b.yaml", "--set", "data.responses={chosen: good, rejected: it's}", *SEED_8],
        ),
        (
            "run",
            ["my.yaml", "--set", "train.seed=3", "--set", "train.seed=7", "--without", "x", "--plugin", "p.py"],
            ["my.yaml", "--without", "x", "--plugin", "p.py", *SEED_8],
        ),
    ],
)
def test_the_command_for_another_option_keeps_those_of_the_run_and_takes_the_next_seed(
    folder: str,
    words: list[str],
    expected: list[str],
    cached_changes: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / folder).mkdir()
    with Console(load_recipe(RECIPE, [*cached_changes, "output.dir=x", "train.seed=7"])) as console:
        console.summarize(result_in(tmp_path / folder), words)
    line = next(line for line in capsys.readouterr().out.splitlines() if "change an option" in line)
    command = shlex.split(line.partition("mdpo-run ")[2])
    assert [*command[:-1], Path(command[-1]).name] == expected
