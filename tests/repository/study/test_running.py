"""The study's runs, in real processes: killed and started again, they end as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paths import ROOT
from support.study_tasks import short_tasks

from benchmarks.study.numbers import load
from benchmarks.study.running import StudyError, Task, run_all
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import World


def until(holds: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_finished_runs_are_not_run_again(tmp_path: Path) -> None:
    tasks, said = short_tasks(tmp_path, 3), list[str]()
    run_all(tasks[:2], 2, said.append)
    before = [task.starts() for task in tasks[:2]]
    run_all(tasks, 2, said.append)
    assert [len(task.starts()) for task in tasks] == [1, 1, 1]
    assert [task.starts() for task in tasks[:2]] == before
    assert "2 of 3 runs are finished" in said
    assert all(task.took() >= 0.3 for task in tasks)


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_ends_leaves_no_process_behind(ends: signal.Signals, tmp_path: Path) -> None:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests"), *sys.path))
    command = [sys.executable, "-m", "support.study_tasks", str(tmp_path)]
    study, tasks = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}), short_tasks(tmp_path, 3)
    until(lambda: all(task.starts() for task in tasks[:2]))
    study.send_signal(ends)
    assert study.wait() in (128 + ends, -ends)
    until(lambda: not any(is_running(number) for task in tasks for number in task.starts()), 10)
    assert not tasks[2].starts()


def is_running(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


class Begun(Task):
    """A task that nobody looks at before it starts."""

    def is_finished(self) -> bool:
        return False


def test_a_run_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    broken = World("digits", "Digits", "about", "recipes/quickstart.yaml", ("model.adapter=nobody",), (), ())
    with pytest.raises(StudyError, match=r"digits-mdpo-0 failed; all it said is in (.|\n)*nobody"):
        run_all([Begun(broken, VARIANTS["mdpo"], 0, tmp_path)], 1, lambda _: None)


def study_in(runs: Path) -> subprocess.Popen[bytes]:
    words = ["--quick", "--worlds", "digits", "--seeds", "0", "--only", "picture", "--runs", str(runs)]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.study", *words], cwd=ROOT, stderr=subprocess.DEVNULL)


@pytest.mark.nightly(reason="six runs of real processes; the tests above try the same with short ones")
@pytest.mark.timeout(600)
def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(tmp_path: Path) -> None:
    assert study_in(tmp_path / "whole").wait() == 0
    done, killed = tmp_path / "killed" / "digits-dpo-0", study_in(tmp_path / "killed")
    until(lambda: (done / "final").exists())
    killed.kill()
    killed.wait()
    finished = (done / "metrics.jsonl").stat().st_mtime_ns
    assert study_in(tmp_path / "killed").wait() == 0
    assert (done / "metrics.jsonl").stat().st_mtime_ns == finished
    one, other = (load(tmp_path / name / "page" / "study.json")["digits"] for name in ("whole", "killed"))
    assert (one.runs, one.base) == (other.runs, other.base)
