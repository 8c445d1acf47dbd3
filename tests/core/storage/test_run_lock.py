"""Two runs in one run directory: one works, the other says who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.processes.launching import begin, launch, records, wait_for_step

from mdpo_core import CheckpointError, RecipeError
from mdpo_core.storage import run_lock
from mdpo_core.storage.run_lock import LOCK, only_run_in

# Holds a directory until its standard input ends.
HOLDER = """
import sys
from pathlib import Path
from mdpo_core.storage.run_lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_run_is_refused_with_host_and_process_of_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = holder(folder)
    try:
        holds = f"in use by the run of process {first.pid} on the host {socket.gethostname()}"
        with pytest.raises(RecipeError, match=re.escape(holds)), only_run_in(folder):
            pass
    finally:
        first.communicate()
    with only_run_in(folder):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / LOCK).is_file()
    with only_run_in(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_new_directory_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with only_run_in(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "h"}', '{"host": "h", "process": 1e999}'])
def test_a_lock_that_names_nobody_stops_nobody(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with only_run_in(tmp_path):
        pass


def test_many_threads_hold_the_directory_one_at_a_time(tmp_path: Path) -> None:
    holding: list[int] = []

    def attempt(number: int) -> bool:
        try:
            with only_run_in(tmp_path / "run"):
                holding.append(number)
                assert holding == [number]
                holding.remove(number)
        except RecipeError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert any(list(pool.map(attempt, range(400))))  # a list: an error in any attempt is raised


def test_file_system_without_locks_believes_a_living_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    ended = subprocess.Popen(["true"])
    ended.wait()
    for owner, refused in [
        ({"host": socket.gethostname(), "process": os.getpid()}, True),
        ({"host": "elsewhere", "process": os.getpid()}, True),
        ({"host": socket.gethostname(), "process": ended.pid}, False),
    ]:
        (tmp_path / LOCK).write_text(json.dumps(owner))
        if refused:
            with pytest.raises(RecipeError, match="in use by the run of process"), only_run_in(tmp_path):
                pass
        else:
            with only_run_in(tmp_path):
                pass


def test_the_name_of_a_process_that_has_just_locked_is_waited_for(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_lock, "_TIME_TO_WRITE", 0.02)
            with pytest.raises(RecipeError, match="in use by another run"), only_run_in(tmp_path):
                pass


@pytest.mark.nightly(reason="a run of one process refuses a second one by the same lock")
def test_run_of_two_processes_refuses_a_second_run(changes: list[str], tmp_path: Path) -> None:
    folder, long = tmp_path / "run", [*changes, "train.epochs=1000", "probe=off"]
    with begin(long, folder, "--processes", "2") as process:
        wait_for_step(process, folder, 1)
        seconds = [launch(long, folder, *more) for more in ([], ["--resume"])]
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 143
    for second in seconds:
        assert second.returncode == 2
        assert re.search(r"run is in use by the run of process \d+ on the host", second.stderr)
        assert second.stderr.count("\n") == 1
    steps = [record["step"] for record in records(folder)]
    assert steps == list(range(1, len(steps) + 1))


def test_lock_that_is_a_link_writes_into_no_other_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    for target in (precious, tmp_path / "nowhere"):
        folder = tmp_path / f"run_{target.stem}"
        folder.mkdir()
        (folder / LOCK).symlink_to(target)
        with pytest.raises(CheckpointError, match="could not be written"), only_run_in(folder):
            pass
    assert precious.read_text() == "kept"
