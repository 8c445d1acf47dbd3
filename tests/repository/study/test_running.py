"""The study's runs, in real processes: killed and started again, they end as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.study.numbers import load
from benchmarks.study.running import StudyError, Task, run_all
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import World


def start(runs: Path) -> subprocess.Popen[str]:
    words = ["--quick", "--worlds", "digits", "--seeds", "0", "--only", "picture", "--runs", str(runs)]
    command = [sys.executable, "-m", "benchmarks.study", *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, study: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert study.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(ends: signal.Signals, tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    assert whole.wait(300) == 0
    first = start(tmp_path / "killed")
    wait_for(tmp_path / "killed" / "digits-dpo-0" / "final", first)
    finished = (tmp_path / "killed" / "digits-dpo-0" / "metrics.jsonl").stat().st_mtime_ns
    first.send_signal(ends)
    first.wait(60)
    second = start(tmp_path / "killed")
    said = second.communicate(timeout=300)[1]
    assert second.returncode == 0, said
    assert (tmp_path / "killed" / "digits-dpo-0" / "metrics.jsonl").stat().st_mtime_ns == finished
    one, other = (load(tmp_path / name / "page" / "study.json")["digits"] for name in ("whole", "killed"))
    assert one.runs == other.runs
    assert json.dumps(one.base) == json.dumps(other.base)


class Begun(Task):
    """A task that nobody looks at before it starts."""

    def is_finished(self) -> bool:
        return False


def test_a_run_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    broken = World("digits", "Digits", "recipes/quickstart.yaml", ("model.adapter=nobody",), (), ())
    with pytest.raises(StudyError, match=r"digits-mdpo-0 failed; all it said is in (.|\n)*nobody"):
        run_all([Begun(broken, VARIANTS["mdpo"], 0, tmp_path)], 1, lambda _: None)
