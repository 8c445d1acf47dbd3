"""What others can reach of a run in two processes on one machine, and what is left of it without its launcher."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from support.processes.launching import begin, ranks_of, wait_for_step

from mdpo_core.processes import launcher
from mdpo_core.processes.rendezvous import STORE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tables of sockets are read from /proc")
# A stranger has taken the place of rank 1 in gloo's group, and cannot read the file.
STRANGER = """
import pathlib, sys, time
from datetime import timedelta
from mdpo_core import MdpoError
from mdpo_core.processes import authentication, rendezvous
authentication._ANSWER_TIME = timedelta(seconds=5)
folder, rank, behaviour = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
token = authentication._token
if rank == "1" and behaviour == "guesses":
    authentication._token = lambda secret, sender, receiver: token(b"guessed", sender, receiver)
if rank == "1" and behaviour == "echoes":
    authentication._token = lambda secret, sender, receiver: token(secret, 0, 1)
if rank == "1" and behaviour == "is silent":
    rendezvous.require_own_processes = lambda store, world: time.sleep(600)
try:
    with rendezvous.process_group():
        (folder / f"joined-{rank}").touch()
except MdpoError as error:
    print(error, file=sys.stderr)
    rendezvous.leave(1)
"""
LISTENS = "0A"  # as the kernel writes it


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections, and whether one from this machine's outward address succeeded."""

    owner: str
    address: str
    port: int
    reached: bool


@dataclass(frozen=True)
class Seen:
    """What was seen of one run: while it trained, and after its launcher was killed."""

    listeners: list[Listener]
    modes: dict[str, int]
    told: str


@pytest.fixture(scope="module")
def seen(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("exposed")
    long = [*changes, "train.epochs=1000", "output.save_every=1000"]
    with begin(long, folder / "run", "--processes", "2", TMPDIR=str(folder)) as process:
        try:
            wait_for_step(process, folder / "run", 1)
            owners = {"launcher": process.pid} | {f"rank {rank}": pid for rank, pid in enumerate(ranks_of(process))}
            listeners = list(listening(owners))
            modes = {path.name.split("-")[0]: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("mdpo-*")}
        finally:
            process.kill()
        # The processes hold its end of the pipe until they have ended, too.
        _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert owners.keys() == {"launcher", "rank 0", "rank 1"}
    return Seen(listeners, modes, told)


def listening(owners: dict[str, int]) -> Iterator[Listener]:
    outward = outward_address()
    for owner, pid in owners.items():
        held = set(held_by(pid))
        for address, port, inode in kernel_table(pid):
            if f"socket:[{inode}]" in held:
                yield Listener(owner, address, port, outward is not None and connects(outward, port))


def held_by(pid: int) -> Iterator[str]:
    """What the open files of a process are: ``socket:[INODE]``, ..."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            yield str(file.readlink())


def kernel_table(pid: int) -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of each socket that listens, as a process sees them."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS:
                address, port = fields[1].split(":")
                yield as_text(bytes.fromhex(address)), int(port, 16), fields[9]


def as_text(words: bytes) -> str:
    """An address from the kernel's words of four bytes, each in the machine's order."""
    parts = [words[start : start + 4] for start in range(0, len(words), 4)]
    ordered = b"".join(part if sys.byteorder == "big" else part[::-1] for part in parts)
    return str(ipaddress.ip_address(ordered))


def outward_address() -> str | None:
    """An address of this machine that others would use; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(asking.getsockname()[0])
    return None if ipaddress.ip_address(found).is_loopback else found


def connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.long
def test_the_processes_listen_on_the_loopback_interface_alone(seen: Seen) -> None:
    # Each rank has a socket for the others: an empty table would mean that none was found.
    assert {each.owner for each in seen.listeners} >= {"rank 0", "rank 1"}
    assert [each for each in seen.listeners if not ipaddress.ip_address(each.address).is_loopback] == []


@pytest.mark.long
def test_no_port_answers_at_the_outward_address(seen: Seen) -> None:
    if outward_address() is None:
        pytest.skip("this machine has no address but the loopback interface's")
    assert [each for each in seen.listeners if each.reached] == []


@pytest.mark.long
def test_meeting_folder_of_processes_is_closed_to_other_users(seen: Seen) -> None:
    assert seen.modes == {"mdpo": 0o700}


@pytest.mark.long
def test_processes_whose_launcher_was_killed_save_and_stop(seen: Seen) -> None:
    assert seen.told.count("checkpoint saved") == 1, seen.told
    assert "--processes 2 --resume" in seen.told


@pytest.mark.parametrize(
    "behaviour",
    ["guesses", pytest.param("echoes", marks=pytest.mark.long), pytest.param("is silent", marks=pytest.mark.long)],
)
def test_a_stranger_in_the_place_of_a_process_is_not_heard(behaviour: str, tmp_path: Path) -> None:
    shared = {**os.environ, "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo", STORE: str(tmp_path / "store")}
    words = [sys.executable, "-c", STRANGER, str(tmp_path)]
    processes = [
        subprocess.Popen([*words, rank, behaviour], env={**shared, "RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    try:
        _, told = processes[0].communicate(timeout=120)
        assert processes[0].returncode == 1
        assert "process 0 got a wrong answer, or none, from another process of the run" in told
        assert list(tmp_path.glob("joined-0")) == []
    finally:
        for process in processes:
            process.kill()
            process.communicate()


class StartedProcess:
    """In the place of a process: notes the signals that it gets. The launcher gets one while rank 0 starts."""

    received = signal.SIGTERM
    heard: ClassVar[list[list[int]]] = []

    def __init__(self, command: list[str], env: dict[str, str], start_new_session: bool) -> None:
        self._heard: list[int] = []
        self.heard.append(self._heard)
        if env["RANK"] == "0":
            signal.raise_signal(self.received)

    def send_signal(self, signum: int) -> None:
        self._heard.append(signum)

    def poll(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM),
        (signal.SIGQUIT, signal.SIGQUIT),
    ],
)
def test_a_signal_during_the_start_reaches_each_process_once(
    received: signal.Signals, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StartedProcess, "received", received)
    monkeypatch.setattr(StartedProcess, "heard", [])
    monkeypatch.setattr(subprocess, "Popen", StartedProcess)
    # Tests that run in the background may have been started with ignored signals.
    before = signal.signal(received, signal.SIG_DFL)
    try:
        assert launcher.launch(3, [], str) == 128 + received
    finally:
        signal.signal(received, before)
    assert StartedProcess.heard == [[sent], [sent], [sent]]


def test_signal_ignored_before_launch_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StartedProcess, "received", signal.SIGHUP)
    monkeypatch.setattr(StartedProcess, "heard", [])
    monkeypatch.setattr(subprocess, "Popen", StartedProcess)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert launcher.launch(2, [], str) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert StartedProcess.heard == [[], []]


class KilledProcess(StartedProcess):
    """In the place of a process that the kernel has killed: rank 1; rank 0 ends when it is asked to."""

    def __init__(self, command: list[str], env: dict[str, str], start_new_session: bool) -> None:
        self._heard = []
        self._code = None if env["RANK"] == "0" else -signal.SIGKILL

    def poll(self) -> int | None:  # type: ignore[override]
        return 128 + signal.SIGTERM if self._heard else self._code


def test_a_killed_process_is_told_on_a_line_of_its_own_with_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its progress bar has hidden the cursor, and stands in the line."""
    screen, terminal = os.openpty()
    before = [os.dup(number) for number in (1, 2)]
    monkeypatch.setattr(subprocess, "Popen", KilledProcess)
    try:
        for number in (1, 2):
            os.dup2(terminal, number)
        assert launcher.launch(2, ["run"], lambda: "no step is kept in R; resume with: mdpo-run R --resume") == 1
    finally:
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
    seen = os.read(screen, 10_000).decode()
    assert seen.startswith("\x1b[?25h\r\nprocess 1 was ended by SIGKILL")
    assert seen.endswith("; no step is kept in R; resume with: mdpo-run R --resume\r\n")


def test_the_loopback_interface_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "en0"), (2, "lo0")])
    assert launcher._loopback() == "lo0"
