"""Stopping and resuming: to the bit, whatever stopped the run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.effort import nightly_but
from support.paths import RECIPES
from support.processes.launching import contents
from support.runs import stop_after

from mdpo_core import CheckpointError, load_recipe, run
from mdpo_core.storage.files import sha256

RECIPE = RECIPES / "llava_mdpo.yaml"


def command(changes: list[str], *more: str) -> list[str]:
    words = [sys.executable, "-m", "mdpo_core.cli", "run", str(RECIPE)]
    return [*words, *(word for change in changes for word in ("--set", change)), *more]


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def last_step(folder: Path) -> int:
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def stop_at(step: int, signum: int, changes: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a run in a process group of its own and send the group a signal once so many steps are logged."""
    with subprocess.Popen(
        command(changes, "--run-dir", str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while last_step(folder) < step and process.poll() is None:
            time.sleep(0.005)
        # A run that was killed alone must not leave workers behind; a Ctrl-C reaches them as well.
        send = process.send_signal if signum == signal.SIGKILL else partial(os.killpg, process.pid)
        send(signum)
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def whole(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped, in a process with another hash seed than those it is compared with."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    words = [*changes, f"output.dir={folder}"]
    subprocess.run(command(words), check=True, capture_output=True, env=environment)
    return folder


# Step 1 is before the first checkpoint, step 4 has just saved one.
STEPS = [
    4,
    pytest.param(1, marks=pytest.mark.long),
    *(pytest.param(step, marks=pytest.mark.nightly(reason="as step 4, another moment")) for step in (3, 5)),
]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_sigterm_finishes_the_step_saves_and_says_how_to_resume(
    step: int, small: list[str], tmp_path: Path, whole: Path
) -> None:
    folder = tmp_path / "stopped"
    stopped = stop_at(step, signal.SIGTERM, small, folder)
    assert stopped.returncode == 143
    finished = re.search(r"stopped after step (\d) of 6, checkpoint saved", stopped.stderr)
    assert finished, stopped.stderr
    assert (folder / "checkpoints" / f"step-{int(finished[1]):06d}").is_dir()
    assert re.search(r"resume with: mdpo-run .*--resume", stopped.stderr)
    run(load_recipe(RECIPE, small), run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_run_resumes_from_its_last_whole_checkpoint(
    step: int, small: list[str], tmp_path: Path, whole: Path
) -> None:
    folder = tmp_path / "killed"
    assert stop_at(step, signal.SIGKILL, small, folder).returncode == -signal.SIGKILL
    run(load_recipe(RECIPE, small), run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


WORKERLESS = "a killed run without workers, and an interrupted one with them, are tried more often"


@pytest.mark.parametrize(
    "signum", nightly_but([signal.SIGINT], [signal.SIGINT, signal.SIGKILL], WORKERLESS, pytest.mark.long)
)
def test_a_run_with_workers_stops_and_resumes_as_one_without(
    signum: signal.Signals, small: list[str], tmp_path: Path, whole: Path
) -> None:
    folder = tmp_path / "working"
    stopped = stop_at(2, signum, [*small, "train.workers=1"], folder)
    if signum == signal.SIGINT:
        assert stopped.returncode == 130
        # Nothing from the worker, which has the same terminal.
        assert re.search(r"stopped after step \d of 6, checkpoint saved\nresume with: .*\n$", stopped.stderr)
        assert "Traceback" not in stopped.stderr
    # Elsewhere, or tomorrow, there may be fewer cores, or more.
    run(load_recipe(RECIPE, small), run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


@pytest.mark.long
def test_run_out_of_memory_resumes_another_way_and_ends_alike(small: list[str], tmp_path: Path) -> None:
    # Dropout would be drawn otherwise for batches of other sizes.
    alike = [*small, "model.lora.dropout=0.0", "trackers=[]"]
    unstopped = run(load_recipe(RECIPE, alike), run_dir=tmp_path / "unstopped").final
    folder = tmp_path / "stopped"
    assert stop_at(2, signal.SIGTERM, alike, folder).returncode == 143
    thrifty = ["scoring={share_prefix: false, activation_checkpointing: full}", "train.micro_batch_size=1"]
    final = run(load_recipe(RECIPE, [*alike, *thrifty, "reference=adapter_off"]), run_dir=folder, resume=True).final
    weights, expected = (load_file(path / "adapter_model.safetensors") for path in (final, unstopped))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0)


@pytest.mark.long
def test_disk_full_while_saving_keeps_the_previous_checkpoint(small: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "full"
    # A limit on the size of files does what a full disk does: a write fails half-way. The first checkpoint is there.
    program = (
        "import resource, sys; from mdpo_core import load_recipe, run; import mdpo_core.training.trainer as t\n"
        "save = t.Trainer._save\n"
        "def limited(self, finished):\n"
        "    if finished > 2: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "    save(self, finished)\n"
        "t.Trainer._save = limited\n"
        f"run(load_recipe({str(RECIPE)!r}, {small!r}), run_dir={str(folder)!r})\n"
    )
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "CheckpointError" in failed.stderr
    assert "step-000004 could not be written" in failed.stderr
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000002"]
    run(load_recipe(RECIPE, small), run_dir=folder, resume=True)


@pytest.fixture(scope="module")
def stopped_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two steps; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_after(2, load_recipe(RECIPE, changes), folder)
    return folder


def test_a_damaged_checkpoint_is_refused_by_name(small: list[str], stopped_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped_run, tmp_path / "damaged"))
    file = sorted((folder / "checkpoints").iterdir())[-1] / "state-00000-of-00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state-00000-of-00001\.safetensors differs from what was saved; remove"):
        run(load_recipe(RECIPE, small), run_dir=folder, resume=True)


def test_incomplete_or_foreign_checkpoint_is_refused(small: list[str], stopped_run: Path, tmp_path: Path) -> None:
    """A checkpoint that lacks a file, or is of other code or another model, is refused."""
    folder = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    about, file = newest / "checkpoint.json", newest / "state-00000-of-00001.safetensors"
    state, content = json.loads(about.read_text()), file.read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            run(load_recipe(RECIPE, small), run_dir=folder, resume=True)

    file.unlink()
    refused(r"state-00000-of-00001\.safetensors is missing; remove")
    file.write_bytes(content)
    about.write_text(json.dumps(state | {"format": 7}))
    refused("written by another version of mdpo")
    about.write_text(json.dumps(state)[:-40])
    refused("checkpoint.json is damaged")
    # Of a model with one layer less: the same command, another checkpoint.
    weights = {name: value for name, value in load_file(file).items() if "layers.0" not in name}
    shapes = {name.rpartition("@")[0]: tuple(value.shape) for name, value in weights.items()}
    save_file(weights, file, {"shapes": json.dumps(shapes)})
    about.write_text(json.dumps(state | {"sha256": {file.name: sha256(file)}}))
    refused("belongs to another model: it does not contain")


def test_data_that_have_changed_are_refused_on_resume(small: list[str], tmp_path: Path, pairs: Path) -> None:
    folder = tmp_path / "changed"
    copy = tmp_path / "pairs.json"
    copy.write_text(pairs.read_text())
    changes = [*small, f"data.path={copy}"]
    stop_after(2, load_recipe(RECIPE, changes), folder)
    copy.write_text(pairs.read_text().replace("Green", "Brown"))
    with pytest.raises(CheckpointError, match="the data has changed since the run"):
        run(load_recipe(RECIPE, changes), run_dir=folder, resume=True)


@pytest.mark.long
def test_a_run_of_a_version_that_hashed_pixels_is_refused(small: list[str], tmp_path: Path) -> None:
    """Its digest of pictures means something else, so nobody can tell whether the data are the same."""
    folder = tmp_path / "older"
    stop_after(2, load_recipe(RECIPE, small), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["data"]["hashed"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run(load_recipe(RECIPE, [*small, "train.epochs=2"]), run_dir=folder, resume=True)  # the same digest: it goes on
    shutil.rmtree(folder / "final")
    manifest["data"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="begun by a version of mdpo that hashed the pixels of pictures"):
        run(load_recipe(RECIPE, small), run_dir=folder, resume=True)
