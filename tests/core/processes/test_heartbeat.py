"""Processes that fall silent, and those that are left waiting for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mdpo_core import RecipeError, World, require_devices

# Short spans, and a collective that would wait for seven days.
PROGRAM = """
import pathlib, sys, time
from mdpo_core import liveness
liveness.BEAT, liveness.SILENCE = 0.2, 3.0
from mdpo_core.group import process_group
with process_group() as world:
    (pathlib.Path(sys.argv[1]) / f"{world.rank}").touch()
    if world.rank == int(sys.argv[2]):
        time.sleep(600)
    world.gather(None)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(folder: Path, idle: int) -> list[subprocess.Popen[str]]:
    """Two processes, as if on two nodes, that have met; one does nothing, and the other waits for it."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = []
    for rank in range(2):
        environment = {**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
        words = [sys.executable, "-c", PROGRAM, str(folder), str(idle)]
        processes.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
    while sum(1 for _ in folder.iterdir()) < 2:
        time.sleep(0.05)
    return processes


@pytest.mark.parametrize(
    ("silent", "message"),
    [(1, "process 1 has given no sign of life"), (0, "the run's first node has not answered")],
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


def test_a_process_that_is_busy_for_long_is_not_taken_for_dead(tmp_path: Path) -> None:
    processes = start(tmp_path, idle=1)
    try:
        time.sleep(8)
        assert [process.poll() for process in processes] == [None, None]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    require_devices(World(rank=1, size=2, local_rank=1, local_size=2))
    require_devices(World(rank=7, size=8, local_rank=1, local_size=2))
    with pytest.raises(RecipeError, match="4 processes on this machine, which has 2 devices"):
        require_devices(World(rank=0, size=4, local_rank=0, local_size=4))
