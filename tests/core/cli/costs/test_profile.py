"""`mdpo profile` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.effort import nightly_but
from support.paths import RECIPES

from mdpo_core import RecipeError
from mdpo_core.cli import main
from mdpo_core.scoring import compilation

RECIPE = str(RECIPES / "llava_mdpo.yaml")
# The recipe has 20 pairs in two epochs, enough for five steps of four pairs.
MOST = 3


@pytest.fixture
def words(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("mdpo_core.profiling.profiler._MEASURING", 0.0)
    monkeypatch.chdir(tmp_path)
    return ["profile", RECIPE, *(word for change in small for word in ("--set", change))]


def test_a_table_of_phases_numbers_and_a_trace_are_there(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--steps", "2", "--json", "numbers.json"]) == 0
    shown, numbers = capsys.readouterr(), json.loads(Path("numbers.json").read_text())
    assert max(map(len, shown.out.splitlines()[1:-1])) <= 80
    assert shown.err == ""
    phases = ["pictures", "language model forward", "head", "reference", "backward", "update", "waiting for data"]
    assert numbers["seconds"].keys() == {*phases, "the rest"}
    assert all(name in shown.out for name in phases)
    assert numbers["seconds_per_step"] == pytest.approx(sum(numbers["seconds"].values()))
    assert numbers["tokens_per_second"] > 0
    assert numbers["mfu"] == pytest.approx(numbers["tflops"] * 1e12 / numbers["matrix_rate"])
    assert "communication" not in numbers
    assert {"aten::mm", "aten::addmm"} & {each["name"] for each in numbers["operators"]}
    assert events("llava_mdpo.trace.json") >= {f"mdpo: {name}" for name in phases if name != "waiting for data"}


def events(trace: str) -> set[str]:
    return {each["name"] for each in json.loads(Path(trace).read_text())["traceEvents"]}


def test_runs_and_caches_are_left_alone(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("mine")
    changed = [*words, "--set", "reference=cached", "--set", f"output.reference={tmp_path / 'run' / 'reference'}"]
    assert main([*changed, "--steps", str(MOST), "--trace", "some.json.gz"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run", "some.json.gz"}
    assert [(path.name, path.read_text()) for path in (tmp_path / "run").iterdir()] == [("metrics.jsonl", "mine")]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--json", "absent/numbers.json"], "--json: the folder absent does not exist"),
        (["--trace", "absent/trace.json"], "--trace: the folder absent does not exist"),
        (["--trace", "recipe.yaml"], "--trace: recipe.yaml must end in .json or .json.gz"),
        (["--json", "folder.json"], "--json: folder.json is a folder"),
        (
            ["--json", "a.json", "--trace", "./a.json"],
            "--json and --trace name the same file, a.json; name two files",
        ),
        (["--set", "train.batch_sise=4"], "train.batch_sise: unknown option; did you mean 'batch_size'?"),
        (
            ["--steps", "4"],
            "--steps 4 needs 6 steps of 4 pairs, one to begin with and one to record, but the run trains",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder.json").mkdir()
    assert main([*words, *more]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path.cwd().iterdir()] == ["folder.json"]


def test_a_folder_without_permission_is_refused_before_data_is_read(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda folder, mode: False)  # root may write everywhere
    assert main([*words, "--set", "data.path=absent.json"]) == 2
    assert f"--trace: no file can be written in {tmp_path}; name another one" in capsys.readouterr().err


def test_a_machine_without_a_compiler_is_named_before_data_is_read(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(device: str) -> None:
        raise RecipeError("no compiler here")

    monkeypatch.setattr(compilation, "require_compiler", refuse)
    assert main([*words, "--set", "scoring.compile=true", "--set", "data.path=absent.json"]) == 2
    assert capsys.readouterr().err == "no compiler here\n"


@pytest.mark.parametrize("command", ["run", "profile"])
def test_the_compiler_is_tried_on_the_backend_s_device(
    command: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(device: str) -> None:
        raise RecipeError(f"tried {device}")

    monkeypatch.setattr(compilation, "require_compiler", refuse)
    monkeypatch.setattr("mdpo_core.processes.devices._accelerator", lambda: "cuda")
    more = ["--run-dir", str(tmp_path / "run")] if command == "run" else []
    changes = ["--set", "scoring.compile=true", "--set", "backend.device=cpu"]
    assert main([command, *words[1:], *changes, *more]) == 2
    assert capsys.readouterr().err == "tried cpu\n"


@pytest.mark.long
def test_a_signal_leaves_no_folder_and_says_how_to_start_again(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mdpo_core.cli", *words, "--steps", str(MOST)]
    places = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=places, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("mdpo-profile-*")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT: nothing was changed; start it again with the same command" in told
    assert list(tmp_path.glob("mdpo-profile-*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files, whoever asks")
def test_a_trace_that_cannot_be_written_is_no_success(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--steps", "1", "--trace", "/proc/trace.json"]) == 1
    shown = capsys.readouterr()
    assert "/proc/trace.json could not be written" in shown.err
    assert "trace:" not in shown.out


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_steps_are_a_whole_number_above_0(words: list[str], steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*words, f"--steps={steps}"])
    assert f"argument --steps: must be a whole number above 0, found {steps}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "backend",
    nightly_but(
        ["{backend: fsdp}"],
        ["{backend: local}", "{backend: fsdp}", "{backend: deepspeed, zero_stage: 2}"],
        "torch's profiler sees what each exchanges",
        pytest.mark.long,
    ),
)
def test_two_processes_say_how_long_they_exchange(small: list[str], backend: str, tmp_path: Path) -> None:
    changes = [word for change in small for word in ("--set", change)]
    command = [sys.executable, "-m", "mdpo_core.cli", "profile", RECIPE, *changes, "--set", f"backend={backend}"]
    more = ["--processes", "2", "--steps", "1", "--json", "numbers.json"]
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers: dict[str, Any] = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["communication"] > 0
    assert numbers["num_processes"] == 2
    assert done.stdout.count("between processes") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"numbers.json", "llava_mdpo.trace.json"}
