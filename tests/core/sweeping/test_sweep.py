"""A sweep: checked before anything runs, resumed, and told; its runs are real ones."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.effort import nightly_but

import mdpo
from mdpo_core import RecipeError, load_recipe, sweep
from mdpo_core.cli import main
from mdpo_core.storage.run_directory import RunDirectory

RECIPE = """
model: {adapter: digits, freeze: []}
data: {reader: digits, num_pairs: 32}
objective: [{loss: dpo, beta: 0.1, label: text}]
train: {max_steps: 2, batch_size: 8, micro_batch_size: 8, learning_rate: 3.0e-4}
backend: {backend: local}
output: {dir: unused, save_every: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    return file


def words(recipe: Path, *assignments: str, more: Sequence[str] = ()) -> list[str]:
    sets = [word for each in assignments for word in ("--set", each)]
    return ["sweep", str(recipe), *sets, "--out", str(recipe.parent / "out"), *more]


REFUSED: dict[str, tuple[list[str], str]] = {
    "an unknown option": (["train.sed=1,2"], r"--set train.sed=1: train.sed: unknown option; did you mean 'seed'"),
    "values that do not fit": (
        ["train.epochs=0,one", "train.max_steps=null"],
        r"(?s)train.epochs=0.*greater than 0.*train.epochs=one",
    ),
    "no item of a list": (["objective.3.beta=1,2"], r"'objective.3' does not exist: 'objective' has 1 item"),
    "equal values": (["objective.0.beta=0.1,1.0e-1"], "two points of the grid are the same: beta=0.1"),
    "equal runs": (
        ["train.weight_decay=1,1.0"],
        "same run: weight_decay=1 and weight_decay=1.0; leave one of them out",
    ),
    "the same value by two options": (
        ["objective.*.beta=1,2", "objective.0.beta=3"],
        r"two points of the grid are the same run: beta=1 and beta=2; leave one of them out",
    ),
    "one point": (["train.seed=1"], "no option has more than one value"),
    "a directory": (["output.dir=a,b"], "output.dir cannot be set in a sweep"),
    "no recipe": (["train.seed=1,2"], "the file does not exist"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_grid_that_does_not_fit_is_refused_before_anything_runs(
    case: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assignments, sentence = REFUSED[case]
    if case == "no recipe":
        recipe = recipe.with_name("none.yaml")
    assert main(words(recipe, *assignments)) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (recipe.parent / "out").exists()


def test_python_refuses_what_commands_cannot_be_given(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="a sweep starts commands, so its recipe is a file"):
        mdpo.sweep({"model": {}}, {"train.seed": [1, 2]}, out=recipe.parent / "out")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="one run at a time, or more; found 0"):
        sweep(recipe, {"train.seed": [1, 2]}, out=recipe.parent / "out", parallel=0)
    with pytest.raises(RecipeError, match=r"small.yaml is not a directory; choose another one with out=DIR"):
        sweep(recipe, {"train.seed": [1, 2]}, out=recipe)


@pytest.mark.long
def test_runs_that_fail_end_no_other_and_finished_ones_are_not_run_again(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = recipe.parent / "out", "{reader: digits, num_pairs: 32}"
    # Eight at once are asked for, but there are two: each has half of the cores.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    plugin = recipe.with_name("threads.py")
    plugin.write_text(
        "import os\nfrom mdpo_core import hookimpl\nprint('threads:', os.environ.get('OMP_NUM_THREADS'))\n"
        "@hookimpl\ndef mdpo_run_finished(): pass\n"
    )
    more = ["--parallel", "8", "--plugin", str(plugin)]
    arguments = words(recipe, f"data={{reader: pairs, path: none.json}},{whole}", "train.seed=3", more=more)
    assert main(arguments) == 1
    said = capsys.readouterr().out.replace("\n  ", " ")
    failed, done = re.findall(r"^\[./2\] (data=[^ ]*): ", said, re.MULTILINE)
    assert re.search(
        rf"^\[1/2\] {failed}: failed after .* s: none.json: the file or folder does not exist", said, re.MULTILINE
    )
    assert re.search(rf"^\[2/2\] {done}: finished in .* s$", said, re.MULTILINE)
    assert "1 of 2 runs finished; this call took" in said
    [command] = re.findall(r" to see why: (.*)$", said, re.MULTILINE)
    assert (out / "comparison.html").is_file()
    assert (out / "comparison.md").is_file()
    assert (out / "comparison.csv").is_file()
    assert "seed: 3" in (out / done / "recipe.yaml").read_text()
    # The command that it names fails for the reason that is in the log.
    assert shlex.split(command)[0] == "mdpo-run"
    assert main(["run", *shlex.split(command)[1:]]) == 2
    log = out / "logs" / f"{failed}.log"
    assert capsys.readouterr().err.strip() in log.read_text()
    assert str(log) in said
    assert "threads: 8" in log.read_text()
    # A finished run is not run again.
    weights, log = next((out / done / "final").glob("*.safetensors")), out / "logs" / f"{done}.log"
    before = (weights.stat().st_mtime_ns, log.read_text())
    missing, there = {"reader": "pairs", "path": "none.json"}, {"reader": "digits", "num_pairs": 32}
    result = mdpo.sweep(recipe, {"data": [missing, there], "train.seed": 3}, out=out)
    assert (list(result.runs), list(result.failed)) == ([done], [failed])
    assert result.comparison().groups[0].runs[0].path == out / done
    assert (weights.stat().st_mtime_ns, log.read_text()) == before


def test_a_directory_with_another_run_is_refused_before_anything_runs(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = recipe.parent / "out"
    (out / "seed=1").mkdir(parents=True)
    RunDirectory(out / "seed=1").prepare(load_recipe(recipe, ["train.seed=1"]), {"model": {}, "data": {}})
    for changed, sentence in (
        ("objective.0.beta=0.2", "objective.0.beta: 0.1 there, 0.2 here"),
        ("train.max_steps=9", f"{out}/seed=1 holds a run with a smaller train.max_steps"),
    ):
        assert main(words(recipe, "train.seed=0..1", changed)) == 2
        assert sentence in capsys.readouterr().err
    (out / "seed=0").mkdir()
    (out / "seed=0" / "mine.txt").touch()
    assert main(words(recipe, "train.seed=0..1", changed)) == 2
    said = capsys.readouterr().err
    assert f"{out}/seed=0 is not empty and is not a run directory" in said
    assert "holds a run with a smaller train.max_steps" in said
    assert not (out / "logs").exists()


def _started(arguments: list[str], **how: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mdpo_core.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)  # type: ignore[call-overload, no-any-return]


def _wait_for(found: object, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until and not found():  # type: ignore[operator]
        time.sleep(0.05)


@pytest.mark.parametrize(
    "signum",
    nightly_but([signal.SIGINT], [signal.SIGINT, signal.SIGTERM], "runs take both signals alike", pytest.mark.long),
)
def test_a_stopped_sweep_leaves_checkpoints_and_goes_on_to_the_same_weights(
    signum: signal.Signals, recipe: Path
) -> None:
    """Both runs go on at once, and both get the signal; then each equals a run that nothing stopped."""
    recipe.write_text(RECIPE.replace("max_steps: 2", "max_steps: 40"))
    out = recipe.parent / "out"
    arguments = words(recipe, "train.seed=0..1", more=["--parallel", "2"])
    process = _started(arguments)
    _wait_for(lambda: len(list(out.glob("*/checkpoints/*"))) >= 2, process)
    process.send_signal(signum)
    said, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, error
    assert "stopped; 0 of 2 runs had ended, and those that went on keep their newest checkpoint" in error
    assert "continue with the same command" in error
    assert not _processes_in(out)
    assert not list(out.glob("*/final"))
    for log in sorted((out / "logs").glob("*.log")):
        assert "resume with: mdpo-run" in log.read_text()
    process = _started(arguments)
    said, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert "2 runs of" in said
    assert "2 go on" in said.replace("\n  ", " ")
    main(["run", str(recipe), "--set", "train.seed=1", "--run-dir", str(recipe.parent / "plain")])
    one, other = (
        load_file(folder / "final" / "model.safetensors") for folder in (out / "seed=1", recipe.parent / "plain")
    )
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def _processes_in(out: Path) -> list[int]:
    """The processes of runs there that still go on."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and str(out) in _command_of(folder):
            found.append(int(folder.name))
    return [number for number in found if number != os.getpid()]


def _command_of(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_text()
    except OSError:
        return ""
