"""Kills at 200 moments of the life of a run: it is resumed to the same bytes, whatever it was doing."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes.launching import begin, contents, kill, launch, ranks_of, records

from mdpo_core.storage.checkpoints import Checkpoints, verify

NUM_MOMENTS = 200
# How many seconds a stage may take on a slow machine: the kill comes at a random one of them.
STAGES = {
    "import": 3.0,
    "check": 0.3,
    "load": 1.0,
    "cache": 0.3,
    "step": 0.3,
    "save": 0.03,
    "evaluate": 0.2,
    "export": 0.6,
}
# The backend, and the options of the command.
BACKENDS = {
    "local": ("{backend: local, precision: fp32}", ()),
    "ddp": ("{backend: local, precision: fp32}", ("--processes", "2")),
    "zero_2": ("{backend: deepspeed, zero_stage: 2, precision: fp32}", ("--processes", "2")),
}
# Writes down what the run is doing, and has something to evaluate.
PLUGIN = """
import os
from pathlib import Path

from mdpo_core import Evaluator, Example, hookimpl

STAGES = {
    "reading the data": "check",
    "checking data": "check",
    "loading the model": "load",
    "loading the reference": "load",
    "caching the reference": "cache",
    "evaluating": "evaluate",
    "exporting the model": "export",
}
LAST = ("evaluating", "exporting the model")
last = 0


def enter(stage):
    file = Path(os.environ["MDPO_TEST_STAGE"])
    file.with_suffix(".new").write_text(stage)
    file.with_suffix(".new").replace(file)


@hookimpl
def mdpo_progress(stage, done, total):
    enter("load" if done >= total and stage not in LAST else STAGES[stage])


@hookimpl
def mdpo_run_started(run_dir, first_step, num_steps):
    global last
    last = num_steps
    enter("step")


@hookimpl
def mdpo_step_finished(step, metrics):
    enter("step")


@hookimpl
def mdpo_evaluated(step, metrics):
    enter("export" if step == last else "step")


class Answers(Evaluator):
    def evaluate(self, policy, folder, step):
        from PIL import Image

        ramp = Image.linear_gradient("L").convert("RGB").resize((60, 60))
        shown = [Example(str(row), "<image>\\nWhat is it?", {}, (ramp,)) for row in range(8)]
        return {"letters": sum(map(len, policy.generate(shown, 16)))}


@hookimpl
def mdpo_components():
    return {"answers": Answers}
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables with which the plugin is found, and with the file in which it writes the stage."""
    (tmp_path / "mdpo_stages.py").write_text(PLUGIN)
    about = tmp_path / "mdpo_stages-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mdpo-stages\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[mdpo]\nstages = mdpo_stages\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "MDPO_TEST_STAGE": str(tmp_path / "stage")}


@pytest.mark.timeout(6 * 3600)
@pytest.mark.nightly(reason="200 kills a backend take an hour; one kill in each stage is in `long`")
@pytest.mark.parametrize("backend", BACKENDS)
def test_run_killed_at_200_moments_ends_as_one_that_was_not(
    backend: str, changes: list[str], environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option, processes = BACKENDS[backend]
    words = [
        *(change for change in changes if not change.startswith("backend")),
        *(f"backend={option}", "trackers=[]", "reference=cached", "corruptions.crop.draw=epoch"),
        *("output.save_every=1", "evaluators=[{evaluator: answers, every: 2}]"),
    ]
    killer = _Killer(words, processes, environment, random.Random(backend), tmp_path)
    finished = launch(words, killer.unstopped, *processes, **environment)
    assert finished.returncode == 0, finished.stderr
    while killer.hit.total() < NUM_MOMENTS:
        killer.kill_once()
    killer.finish()
    with capsys.disabled():
        print(f"\n{backend}: " + ", ".join(f"{stage} {killer.hit[stage]}" for stage in STAGES))  # noqa: T201
    assert set(killer.hit) == set(STAGES)


class _Killer:
    """Kills a run again and again, and looks at what is left of it."""

    def __init__(
        self,
        changes: list[str],
        processes: tuple[str, ...],
        environment: dict[str, str],
        rng: random.Random,
        parent: Path,
    ) -> None:
        self.hit: Counter[str] = Counter()
        self.unstopped = parent / "unstopped"
        self._changes, self._processes, self._environment, self._rng = changes, processes, environment, rng
        self._parent, self._folder, self._num_folders = parent, parent / "killed-0", 0

    def kill_once(self) -> None:
        """Begin or resume the run, and kill one process or all of them in a stage; count it if it was alive."""
        stage = min(STAGES, key=lambda name: (self.hit[name], self._rng.random()))
        Path(self._environment["MDPO_TEST_STAGE"]).unlink(missing_ok=True)
        with begin(self._changes, self._folder, *self._processes, "--resume", **self._environment) as process:
            while process.poll() is None and self._stage() != stage:
                time.sleep(0.002)
            time.sleep(self._rng.random() * STAGES[stage])
            found = self._stage()
            pids = (ranks_of(process) if self._processes else [process.pid]) if process.poll() is None else []
            for pid in pids if self._rng.random() < 0.5 else self._rng.sample(pids, min(1, len(pids))):
                with suppress(ProcessLookupError):
                    kill(pid)
            process.communicate(timeout=300)
        if pids and process.returncode != 0:
            self.hit[found] += 1
        self._look()

    def _stage(self) -> str:
        try:
            stage = Path(self._environment["MDPO_TEST_STAGE"]).read_text()
        except FileNotFoundError:
            return "import"
        checkpoints = self._folder / "checkpoints"
        saving = stage == "step" and checkpoints.is_dir() and any(checkpoints.glob(".unfinished-step-*"))
        return "save" if saving else stage

    def _look(self) -> None:
        for checkpoint in Checkpoints(self._folder / "checkpoints", keep=2).all():
            verify(checkpoint)
        if (self._folder / "final").is_dir():
            self._require_same_end()
            self._num_folders += 1
            self._folder = self._parent / f"killed-{self._num_folders}"

    def finish(self) -> None:
        """Resume the last run to its end."""
        last = launch(self._changes, self._folder, *self._processes, "--resume", **self._environment)
        assert last.returncode == 0, last.stderr
        self._require_same_end()

    def _require_same_end(self) -> None:
        assert contents(self._folder / "final") == contents(self.unstopped / "final")
        losses = [[record.get("loss") for record in records(each)] for each in (self._folder, self.unstopped)]
        assert losses[0] == losses[1]
