"""Kills: whatever is lost, what is left is whole, and the run ends as one that nothing stopped."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes.launching import begin, contents, kill, launch, ranks_of, records

from mdpo_core.storage.checkpoints import Checkpoints, verify

pytestmark = pytest.mark.timeout(1200)
TWO = ("--processes", "2")
BACKENDS = {
    "local": "{backend: local, precision: fp32}",
    "zero_2": "{backend: deepspeed, zero_stage: 2, precision: fp32}",
    "fsdp": "{backend: fsdp, precision: fp32}",
}
MOMENTS = ("caching", "stepping", "saving")
MANY_KILLS = 10


@pytest.fixture
def many_saves(changes: list[str], request: pytest.FixtureRequest) -> list[str]:
    """A run of 15 steps that saves after each, with a reference in six parts."""
    return [
        *(change for change in changes if not change.startswith("backend")),
        f"backend={BACKENDS[request.param]}",
        "trackers=[]",
        "train.epochs=5",
        "output.save_every=1",
        "reference=cached",
        "corruptions.crop.draw=epoch",
    ]


def num_shards(folder: Path) -> int:
    return sum(1 for _ in (folder / "reference").rglob("*.safetensors"))


def saving(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".unfinished-*")) if (folder / "checkpoints").is_dir() else False


def wait_for(process: subprocess.Popen[str], moment: Callable[[Path], bool], folder: Path) -> None:
    while process.poll() is None and not moment(folder):
        time.sleep(0.002)


@pytest.mark.nightly(reason="test_resume.py kills a run, and test_processes.py one of two processes")
@pytest.mark.parametrize("many_saves", ["fsdp"], indirect=True)
def test_run_killed_once_in_each_stage_ends_as_an_unkilled_one(
    many_saves: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require_end_despite_kills(many_saves, tmp_path, MOMENTS, random.Random(request.node.name))


@pytest.mark.nightly(reason="ten random kills a backend take four minutes; one kill in each stage shows what is lost")
@pytest.mark.parametrize("many_saves", BACKENDS, indirect=True)
def test_run_killed_again_and_again_ends_as_an_unkilled_one(
    many_saves: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(request.node.name)
    require_end_despite_kills(many_saves, tmp_path, rng.choices(MOMENTS, k=MANY_KILLS), rng)


def require_end_despite_kills(changes: list[str], parent: Path, moments: Sequence[str], rng: random.Random) -> None:
    """The run ends as one that nothing stopped, though it is killed at these moments, one after another."""
    unstopped = parent / "unstopped"
    finished = launch(changes, unstopped, *TWO)
    assert finished.returncode == 0, finished.stderr
    folder, killed = parent / "killed", 0
    while killed < len(moments):
        killed += killed_once(changes, folder, moments[killed], rng)
        for checkpoint in Checkpoints(folder / "checkpoints", keep=2).all():
            verify(checkpoint)
        if (folder / "final").is_dir():
            # It was fast enough to finish between two kills; the rest of them go to another run.
            require_same_end(folder, unstopped)
            folder = parent / f"killed-{killed}"
    last = launch(changes, folder, *TWO, "--resume")
    assert last.returncode == 0, last.stderr
    require_same_end(folder, unstopped)


def killed_once(changes: list[str], folder: Path, moment: str, rng: random.Random) -> bool:
    """Begin or go on, and kill one process or all of them soon after ``moment``; False if the run ended before."""
    everybody = rng.random() < 0.5
    steps, shards = len(records(folder)), num_shards(folder)
    with begin(changes, folder, *TWO, *(["--resume"] if folder.exists() else [])) as process:
        if moment == "saving":
            wait_for(process, saving, folder)
        else:
            # Once all shards are there, a step is what comes next.
            cached = shards if moment == "caching" else 10**9
            wait_for(process, lambda folder: num_shards(folder) > cached or len(records(folder)) > steps, folder)
        time.sleep(rng.random() * 0.1)
        ranks = ranks_of(process) if process.poll() is None else []
        for pid in ranks if everybody else rng.sample(ranks, min(1, len(ranks))):
            with suppress(ProcessLookupError):
                kill(pid)
        process.communicate(timeout=60)
    return bool(ranks) and process.returncode != 0


def require_same_end(folder: Path, unstopped: Path) -> None:
    assert contents(folder / "final") == contents(unstopped / "final")
    assert [record["loss"] for record in records(folder)] == [record["loss"] for record in records(unstopped)]
