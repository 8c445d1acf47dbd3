"""Which process reports why a run ends, over a real store whose process dies or no longer answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but missing in torch's list of names

from mdpo_core.processes import rendezvous

SERVER = """
import sys, time
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", int(sys.argv[1]), 2, True, wait_for_workers=False)
print("serves", flush=True)
time.sleep(600)
"""
MINUTES = timedelta(minutes=10)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store, to which this one is connected."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "serves\n"
        monkeypatch.setattr(rendezvous, "_store", TCPStore("127.0.0.1", port, 2, False, MINUTES))
        yield process
    finally:
        process.kill()
        process.communicate()


def asked() -> list[Any]:
    """The answer of `is_first_to_fail`; none if it takes longer than 20 seconds."""
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(rendezvous.is_first_to_fail()), daemon=True)
    asking.start()
    asking.join(20)
    return answers


def test_the_first_to_ask_reports(server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked() == [True]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert asked() == [False]


def test_without_a_store_each_process_reports(server: subprocess.Popen[str]) -> None:
    server.kill()
    server.wait()
    assert asked() == [True]


def test_a_store_that_does_not_answer_keeps_no_process(
    server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its machine is off: nobody closes the connection."""
    monkeypatch.setattr(rendezvous, "_ANSWER_TIME", 1.0, raising=False)
    os.kill(server.pid, signal.SIGSTOP)
    start = time.monotonic()
    assert asked() == [True]
    assert time.monotonic() - start < 10
