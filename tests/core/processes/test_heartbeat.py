"""Silent processes, and those that wait for them. Oracles: the table in heartbeat.py, and real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mdpo_core.processes.heartbeat import DONE, SILENCE, Answer, State, StoreError, Watched, transition

# Short spans, and a collective that would wait for seven days.
PROGRAM = """
import pathlib, sys, time
from mdpo_core.processes import heartbeat
heartbeat.BEAT, heartbeat.SILENCE, heartbeat.GRACE = 0.2, float(sys.argv[3]), 6.0
from mdpo_core.processes.rendezvous import process_group
with process_group() as world:
    (pathlib.Path(sys.argv[1]) / f"{world.rank}").touch()
    if world.rank == int(sys.argv[2]):
        time.sleep(600)
    world.gather(None)
"""


HEARD, SILENT, STORE_LOST, ENDED = State
BEFORE = Watched(HEARD, "7", heard_at=100.0, answered_at=110.0)
JUST, LATE = 0.0, 0.1  # seconds after the last moment at which silence is allowed


@pytest.mark.parametrize("beyond", [JUST, LATE], ids=["in time", "too late"])
@pytest.mark.parametrize(
    ("event", "since", "in_time", "too_late"),
    [
        (Answer("8"), BEFORE.heard_at, HEARD, HEARD),
        (Answer("7"), BEFORE.heard_at, HEARD, SILENT),
        (Answer("8", run_ended=True), BEFORE.heard_at, ENDED, ENDED),
        (Answer("7", run_ended=True), BEFORE.heard_at, ENDED, ENDED),
        (StoreError("broken pipe"), BEFORE.heard_at, STORE_LOST, STORE_LOST),
        (None, BEFORE.answered_at, HEARD, STORE_LOST),
    ],
)
def test_each_event_leads_to_the_state_of_the_table(
    event: Answer | StoreError | None, since: float, in_time: State, too_late: State, beyond: float
) -> None:
    after = transition(BEFORE, event, since + SILENCE + beyond)
    assert after.state is (in_time if beyond == JUST else too_late)


def test_answer_restarts_store_clock_and_new_count_process_clock() -> None:
    """An answer restarts the store's clock, and a new count the process's."""
    same, new = (transition(BEFORE, Answer(count), 120.0) for count in ("7", "8"))
    assert (same.heard_at, same.answered_at) == (100.0, 120.0)
    assert (new.heard_at, new.answered_at) == (120.0, 120.0)


def test_a_process_that_is_done_never_counts_as_silent() -> None:
    watched = BEFORE
    for now in (120.0, 120.0 + 2 * SILENCE, 120.0 + 4 * SILENCE):
        watched = transition(watched, Answer(DONE), now)
        assert watched.state is HEARD


def test_silence_is_counted_over_beats_and_ends_with_a_new_count() -> None:
    watched, states = Watched.begin(0.0), list[State]()
    for now, count in [(2.0, "0"), (12.0, "0"), (32.0, "0"), (33.0, "0"), (34.0, "1")]:
        watched = transition(watched, Answer(count), now)
        states.append(watched.state)
    assert states == [HEARD, HEARD, HEARD, SILENT, HEARD]


def test_a_lost_store_says_what_is_wrong_with_it() -> None:
    assert transition(BEFORE, StoreError("broken pipe"), 111.0).fault == "cannot be reached (broken pipe)"
    assert transition(BEFORE, None, 111.0 + SILENCE).fault == "has not answered for 30 seconds"
    assert transition(BEFORE, None, 111.0) is BEFORE


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(folder: Path, idle: int, patience: Sequence[float] = (3.0, 3.0)) -> list[subprocess.Popen[str]]:
    """Processes that have met: the first as if on one node, the others on a second; one does nothing, others wait.

    ``patience``: after how many seconds without a sign of life each takes another one for lost.
    """
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(patience))}
    processes = []
    for rank, seconds in enumerate(patience):
        place = {"RANK": str(rank), "LOCAL_RANK": str(max(0, rank - 1)), "GLOO_SOCKET_IFNAME": "lo"}
        words = [sys.executable, "-c", PROGRAM, str(folder), str(idle), str(seconds)]
        environment = {**os.environ, **address, **place}
        processes.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
    while sum(1 for _ in folder.iterdir()) < len(patience):
        time.sleep(0.05)
    return processes


@pytest.mark.parametrize(
    ("silent", "message"),
    [
        (1, "process 1 has given no sign of life"),
        pytest.param(0, "the run's first node has not answered", marks=pytest.mark.long),
    ],
)
def test_a_process_that_waits_for_a_silent_one_says_so_and_ends(silent: int, message: str, tmp_path: Path) -> None:
    processes = start(tmp_path, idle=silent)
    try:
        # Its connections stay open, as those to a machine that is cut off do.
        processes[silent].send_signal(signal.SIGSTOP)
        _, told = processes[1 - silent].communicate(timeout=60)
        assert processes[1 - silent].returncode == 1
        assert told.count(message) == 1
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.long
def test_the_process_that_speaks_for_a_node_ends_before_the_others_of_it(tmp_path: Path) -> None:
    # torchrun ends all processes of its node with the first that ends, so a silent one must not be the first.
    first, speaker, other = processes = start(tmp_path, idle=0, patience=(30.0, 5.0, 3.0))
    try:
        first.send_signal(signal.SIGSTOP)
        while speaker.poll() is None and other.poll() is None:
            time.sleep(0.05)
        assert other.poll() is None
        assert other.wait(timeout=60) == 1
    finally:
        for process in processes:
            process.kill()
    told = [process.communicate()[1] for process in processes]
    assert ["the run's first node has not answered" in each for each in told] == [False, True, False]


@pytest.mark.long
def test_a_process_that_is_busy_for_long_is_not_taken_for_dead(tmp_path: Path) -> None:
    processes = start(tmp_path, idle=1)
    try:
        time.sleep(8)
        assert [process.poll() for process in processes] == [None, None]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
