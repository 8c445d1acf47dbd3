"""The study's runs, in real processes: killed and started again, they end as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.study.numbers import load
from benchmarks.study.running import StudyError, Task, run_all
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import World


def study_in(runs: Path) -> subprocess.Popen[bytes]:
    words = ["--quick", "--worlds", "digits", "--seeds", "0", "--only", "picture", "--runs", str(runs)]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.study", *words], cwd=ROOT, stderr=subprocess.DEVNULL)


def until(holds: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def processes_in(runs: Path) -> list[Path]:
    """The processes whose commands name this folder."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(runs) in command.read_text():
                found.append(command)
        except OSError:
            continue
    return found


def test_a_run_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    world = World("digits", "Digits", "about", "recipes/quickstart.yaml", ("backend.device=cuda:97",), (), ())
    with pytest.raises(StudyError, match=r"digits-mdpo-0 failed: .*cuda.*; all it said is in .*digits-mdpo-0\.log"):
        run_all([Task(world, VARIANTS["mdpo"], 0, tmp_path)], 1, lambda _: None)
    assert Task(world, VARIANTS["mdpo"], 0, tmp_path).took() > 0


@pytest.mark.long
def test_a_killed_study_leaves_no_process_that_locks_its_runs(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    until(lambda: len(list(tmp_path.glob("*/run.lock"))) == 2)
    study.kill()
    study.wait()
    until(lambda: not processes_in(tmp_path), 5)


@pytest.mark.nightly(reason="seven runs of real processes; other tests try a sweep that stops, and one that is killed")
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
