"""Signals outside of the steps: one line, the exit code of the signal, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core.processes import end_signals
from mdpo_core.processes.stop_request import StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
ANSWER = "finishing this step, then saving; Ctrl-C again ends at once\n"
# A command that says what it does, and does it until a signal comes.
PROGRAM = """
import atexit, ctypes, os, signal, sys, threading, time
from mdpo_core.processes.end_signals import EndSignals
from mdpo_core.processes.stop_request import StopRequest

EndSignals.install().farewell = lambda: "all is kept"
libc = ctypes.CDLL(None)  # its calls do not return when a signal comes, as those of libraries

mask = (ctypes.c_ulong * 16)(*[2**64 - 1] * 16)

def in_library():
    libc.pthread_sigmask(signal.SIG_BLOCK, mask, None)  # another thread gets the signals
    print("begun", flush=True)
    libc.sleep(60)

def waits():
    print("begun", flush=True)
    time.sleep(60)

def forks():
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    status = os.waitpid(child, 0)[1]
    time.sleep(1.5)  # the other thread waits for a second before it acts
    print("ended by", os.WTERMSIG(status), flush=True)

def fails():
    EndSignals.installed.farewell = lambda: {}["nothing"]
    waits()

def swallows():
    print("begun", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def hangs_in_atexit():
    atexit.register(time.sleep, 60)
    ends()

def hangs_in_library():
    atexit.register(in_library)
    ends()

def hangs_in_thread():
    threading.Thread(target=time.sleep, args=(60,)).start()
    ends()

def ends():
    EndSignals.installed.finish(*map(int, sys.argv[2:]))
    print("begun", flush=True)

def steps():
    with StopRequest() as stop:
        print("begun", flush=True)
        while stop.signum is None:
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(60)

def steps_in_library():
    with StopRequest():
        in_library()

def request_then_library():
    with StopRequest() as stop:
        print("begun", flush=True)
        while stop.signum is None:
            time.sleep(0.01)
        libc.pthread_sigmask(signal.SIG_BLOCK, mask, None)
        libc.sleep(60)

globals()[sys.argv[1]]()
"""


@contextmanager
def begun(*what: str, ignored: signal.Signals | None = None) -> Iterator[subprocess.Popen[str]]:
    """The program once it has begun; it is killed if it still runs at the end, so that no other test hears of it."""
    before = signal.signal(ignored, signal.SIG_IGN) if ignored else None
    words = [sys.executable, "-c", PROGRAM, *what]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            if ignored:
                signal.signal(ignored, before)
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("what", ["waits", "swallows"])
def test_a_signal_ends_the_command_with_one_line(what: str, signum: signal.Signals) -> None:
    with begun(what) as process:
        process.send_signal(signum)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (128 + signum, f"stopped by {signum.name}: all is kept\n")


def test_signals_at_once_give_one_line() -> None:
    with begun("waits") as process:
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
        assert process.returncode in (130, 143)
        assert told.count("\n") == 1
        assert told.endswith(": all is kept\n")


def test_signal_during_a_library_call_ends_the_command() -> None:
    with begun("in_library") as process:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (143, "stopped by SIGTERM: all is kept\n")


@pytest.mark.parametrize(
    "what",
    [*(pytest.param(each, marks=pytest.mark.long) for each in ("steps", "steps_in_library")), "request_then_library"],
)
def test_first_signal_is_answered_at_once_and_a_second_one_ends_a_run_that_hangs(what: str) -> None:
    with begun(what) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        sent = time.monotonic()
        assert process.stderr.readline() == ANSWER
        assert time.monotonic() - sent < 2  # also while the main thread is in a library
        time.sleep(end_signals.ECHO + 1.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (130, "stopped by SIGINT: all is kept\n")


@pytest.mark.parametrize(("rank", "answer"), [("0", ANSWER.replace("Ctrl-C again", "a second signal")), ("1", "")])
def test_only_the_main_process_answers_once(rank: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    with begun("steps") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.kill()
        assert process.communicate(timeout=30)[1] == answer


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("what", ["waits", "hangs_in_atexit"])
def test_a_signal_that_is_ignored_stays_ignored(what: str, signum: signal.Signals) -> None:
    """As after ``nohup``, or in a job that a script has put into the background."""
    with begun(what, ignored=signum) as process:
        process.send_signal(signum)
        time.sleep(0.2)
        assert process.poll() is None


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("what", ["hangs_in_atexit", "hangs_in_thread"])
def test_a_finished_command_that_hangs_ends_with_its_own_code(what: str, signum: signal.Signals) -> None:
    with begun(what, "2") as process:
        time.sleep(0.1)
        process.send_signal(signum)
        assert (*process.communicate(timeout=30), process.returncode) == ("", "", 2)


def test_a_finished_command_without_a_code_ends_with_the_signals() -> None:
    with begun("hangs_in_thread") as process:
        process.send_signal(signal.SIGTERM)
        assert (*process.communicate(timeout=30), process.returncode) == ("", "", 143)


def test_a_finished_command_that_hangs_in_a_library_ends() -> None:
    with begun("hangs_in_library", "0") as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_hang_up_is_a_request_to_stop_in_the_steps() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
    assert stop.signum == signal.SIGHUP


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "mdpo_core.cli", "run"], True),
        (["python", "-u", "-X", "dev", "-m", "mdpo_core.cli"], True),
        (["/bin/python3", "/bin/mdpo-run", "recipe.yaml"], True),
        (["/bin/python3", "-sP", "/bin/mdpo", "check"], True),
        (["python", "-X", "dev", "/bin/mdpo-run", "recipe.yaml"], True),
        (["python", "-Werror", "-W", "ignore::UserWarning", "-Xutf8", "mdpo-run", "recipe.yaml"], True),
        (["python", "-BuX", "dev", "-IW", "error", "mdpo", "check"], True),
        (["python", "--check-hash-based-pycs", "never", "mdpo", "check"], True),
        (["python", "-ummdpo_core.cli", "run"], True),
        (["python", "-W", "mdpo", "train.py"], False),
        (["python", "-X", "mdpo"], False),
        (["python", "-cprint()", "mdpo"], False),
        (["python", "-", "mdpo"], False),
        (["python", "-m", "mdpo"], False),
        (["python", "train.py", "mdpo", "-m", "mdpo_core.cli"], False),
        (["python", "-m", "pytest", "-m", "mdpo_core.cli"], False),
        (["python", "-c", "from multiprocessing.spawn import spawn_main", "--multiprocessing-fork"], False),
        (["python", "train.py"], False),
        (["python"], False),
    ],
)
def test_only_the_command_itself_handles_signals(
    words: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", words)
    assert end_signals.is_command() is expected


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_command_that_is_still_importing_ends_with_one_line(signum: signal.Signals, tmp_path: Path) -> None:
    words = [sys.executable, "-v", "-m", "mdpo_core.cli", "check", str(RECIPES / "quickstart.yaml"), "--data"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("import 'pydantic'"):
                break
        process.send_signal(signum)
        # The line may come in the middle of one about an import.
        told = re.findall("stopped by .*|Traceback.*|Keyboard.*", process.stderr.read())
    assert process.returncode == 128 + signum
    assert len(told) == 1
    assert told[0].startswith(f"stopped by {signum.name}: ")


def test_signal_to_a_forked_child_is_not_heard_by_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "forks"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ended by {signal.SIGTERM:d}\n", "")


def test_farewell_that_fails_still_ends_the_process() -> None:
    with begun("fails") as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (
            130,
            "stopped by SIGINT: what is kept is not known (KeyError: 'nothing')\n",
        )
