"""Runs that fail, as a person sees them on a terminal of 80 columns: where, why, and what comes next."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import shlex
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import NamedTuple

import pytest
from support.processes.launching import command, contents, kill, launch, ranks_of, wait_for_step

_WIDTH = 80
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RUNS = ["data.hold_out=null", "output.save_every=1", "reference=adapter_off"]


class Seen(NamedTuple):
    code: int
    lines: list[str]  # without what a bar drew over


def on_a_terminal(
    words: list[str],
    folder: Path,
    killed_at: int | None = None,
    asked_at: int | None = None,
    largest: int | None = None,
) -> Seen:
    """Run a command to its end. ``killed_at``: the step after which its process of rank 1 is killed.

    ``asked_at``: the step after which all its processes get what Ctrl-C sends; ``largest``: bytes of the largest file
    that it may write.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, _WIDTH, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    settings = {**environment, "TERM": "xterm"}
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=settings, text=True, start_new_session=True)
    os.close(theirs)
    if largest is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest, largest))
    if killed_at is not None:
        wait_for_step(process, folder, killed_at)
        kill(ranks_of(process)[1])
    if asked_at is not None:
        wait_for_step(process, folder, asked_at)
        os.killpg(process.pid, signal.SIGINT)
    text = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in _ESCAPES.sub("", text).split("\n")]
    return Seen(process.wait(), lines)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any longer
        return b""


def require_fits(seen: Seen, command: str) -> None:
    """No traceback, and no word that the terminal would break, but a path, and a command, which people copy whole."""
    assert not any("Traceback" in line for line in seen.lines), seen.lines
    long = [line for line in seen.lines if len(line) > _WIDTH and command not in line]
    assert [line for line in long if max(map(len, line.split())) < _WIDTH - 2] == []


@pytest.mark.long
def test_a_full_disk_is_told_with_its_step_and_the_command_that_goes_on(changes: list[str], tmp_path: Path) -> None:
    # A limit on the size of files does what a full disk does.
    folder = tmp_path / "run"
    seen = on_a_terminal(command([*changes, *RUNS], "--run-dir", str(folder)), folder, largest=40_000)
    assert seen.code == 1
    require_fits(seen, "resume with: mdpo-run ")
    text = " ".join(" ".join(seen.lines).split())
    assert re.search(r"failed after step \d of 6 ", text), text
    assert re.search(r"checkpoints/step-00000\d could not be written: .*File too large", text), text
    [resume] = [line.partition("resume with: mdpo-run ")[2] for line in seen.lines if "resume with: " in line]
    assert shlex.split(resume)[-3:] == ["--run-dir", str(folder), "--resume"]
    assert launch([*changes, *RUNS], folder, "--resume").returncode == 0
    assert (folder / "final").is_dir()


@pytest.mark.long
def test_a_killed_process_is_told_with_the_command_that_goes_on(changes: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = command([*changes, *RUNS, "train.epochs=9"], "--run-dir", str(folder), "--processes", "2")
    seen = on_a_terminal(words, folder, killed_at=2)
    assert seen.code == 1
    require_fits(seen, "resume with: mdpo-run ")
    [told] = [line for line in seen.lines if "was ended by SIGKILL" in line]
    assert told.startswith("process 1 was ended by SIGKILL")
    assert shlex.split(seen.lines[-2].partition("resume with: ")[2])[-3:] == ["--processes", "2", "--resume"]


@pytest.mark.long
@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_ctrl_c_is_answered_once_above_the_bar(changes: list[str], more: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = command([*changes, *RUNS, "train.epochs=90"], "--run-dir", str(folder), *more)
    seen = on_a_terminal(words, folder, asked_at=2)
    assert seen.code == 130
    require_fits(seen, "resume with: mdpo-run ")
    [answer] = [line for line in seen.lines if "finishing" in line]
    assert answer == "finishing this step, then saving; Ctrl-C again ends at once"
    assert "stopped" in " ".join(seen.lines[seen.lines.index(answer) :])


def test_a_bad_row_is_told_in_words_that_stay_whole(small: list[str], pairs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "pairs.json"
    broken.write_text(pairs.read_text().replace(".png", ".gone", 1).replace(".jpg", ".gone", 1))
    words = command([*small, f"data.path={broken}"])
    seen = on_a_terminal(words, tmp_path)
    assert seen.code == 2
    require_fits(seen, "mdpo-run ")
    assert "does not exist; is data.images" in " ".join(" ".join(seen.lines).split())
    assert contents(tmp_path).keys() == {"pairs.json"}


def test_ctrl_c_twice_ends_with_the_command_that_begins_again(small: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(small), stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    text = b""
    while b"mdpo 0" not in text:
        text += _read(ours)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
    text += b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert process.wait() == 130
    assert b"Traceback" not in text
    assert b"resume with: mdpo-run " in text
