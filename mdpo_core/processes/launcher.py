"""Starts the processes of a run on one machine.

They meet through a file in a private folder and use only the loopback interface: no other machine can reach them, and
no other user can pass for one of them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mdpo_core.errors import MdpoError
from mdpo_core.processes.end_signals import FAILED, SIGNALS, write_below
from mdpo_core.processes.heartbeat import LAUNCHER
from mdpo_core.processes.rendezvous import STORE
from mdpo_core.processes.world import PROCESSES

# Seconds that a step and a checkpoint may take after a signal. The heartbeat ends a process that hangs.
_TIME_TO_SAVE = 600.0
_POLL_INTERVAL = 0.05  # seconds
# The signals that the launcher passes on, and what it sends. SIGHUP would end the processes before they have saved.
_PASSED_ON = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGQUIT,
}
_FAILED = "failed"  # the file beside the store that tells the other processes of a failure


def launch(num_processes: int, arguments: Sequence[str], farewell: Callable[[], str]) -> int:
    """Run ``mdpo ARGUMENTS`` in ``num_processes`` processes and wait for them.

    Returns 0, the exit code of the first process that failed, or 128 + the number of the signal that stopped the run.
    Passes signals on to the processes, except those that are ignored when it starts (``nohup``). Each process reports
    its own errors; the launcher reports one that was killed. ``farewell()``: what is kept then, and how to go on.
    """
    # Only this user may enter the folder. The processes unpickle what they read from each other's sockets, and the
    # addresses of these sockets are in the store.
    with tempfile.TemporaryDirectory(prefix="mdpo-") as folder, _signals_passed_on() as processes:
        store = Path(folder) / "store"
        processes.start(num_processes, arguments, store)
        failed = processes.wait_for_failure()
        if failed is not None:
            store.with_name(_FAILED).touch()
            processes.send(signal.SIGTERM)
        processes.wait()
    if processes.stopped_by is not None:
        processes.report_silence(processes.stopped_by, farewell)
        return 128 + processes.stopped_by
    if failed is None:
        return 0
    rank, code = failed
    if code < 0:
        return _report_killed(rank, -code, farewell)
    # Only the main process says that a signal has ended it.
    stopped_alone = rank > 0 and code - 128 in SIGNALS
    return _report_killed(rank, code - 128, farewell) if stopped_alone else code


class _Processes:
    """The processes of a run, by rank."""

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started = False
        self._early: list[int] = []  # signals that came before all processes had started

    def start(self, num_processes: int, arguments: Sequence[str], store: Path) -> None:
        command = [sys.executable, "-m", "mdpo_core.cli", *arguments]
        shared = {**os.environ, **_shared_environment(num_processes, store)}
        for rank in map(str, range(num_processes)):
            environment = {**shared, "RANK": rank, "LOCAL_RANK": rank}
            # In a new session, a terminal's Ctrl-C reaches the process only once, through this launcher.
            self._processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
        self._started = True
        for signum in self._early:
            self.send(signum)

    def wait_for_failure(self) -> tuple[int, int] | None:
        """Rank and exit code of the first process that fails; None if a signal stops the run, or no process fails."""
        while self.stopped_by is None:
            codes = [process.poll() for process in self._processes]
            for rank, code in enumerate(codes):
                if code:
                    return rank, code
            if None not in codes:
                return None
            time.sleep(_POLL_INTERVAL)
        return None

    def pass_on(self, signum: int, frame: FrameType | None) -> None:
        """Send a signal that this launcher received to all processes, once all have started."""
        self.stopped_by = self.stopped_by or signum
        sent = _PASSED_ON[signal.Signals(signum)]
        if self._started:
            self.send(sent)
        else:
            self._early.append(sent)

    def send(self, signum: int) -> None:
        for process in self._processes:
            process.send_signal(signum)

    def wait(self) -> None:
        """Wait until all have ended; kill those that do not end within the time to save."""
        deadline = time.monotonic() + _TIME_TO_SAVE
        while any(process.poll() is None for process in self._processes):
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(_POLL_INTERVAL)

    def report_silence(self, signum: int, farewell: Callable[[], str]) -> None:
        """Say that the run was stopped if a signal ended the main process before that could say it."""
        if self._processes and (self._processes[0].poll() or 0) < 0:
            write_below(f"stopped by {signal.Signals(signum).name}: {farewell()}\n")


@contextmanager
def _signals_passed_on() -> Iterator[_Processes]:
    processes = _Processes()
    heeded = [signum for signum in _PASSED_ON if signal.getsignal(signum) is not signal.SIG_IGN]
    previous = {signum: signal.signal(signum, processes.pass_on) for signum in heeded}
    try:
        yield processes
    except BaseException:
        processes.send(signal.SIGKILL)
        processes.wait()
        raise
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _report_killed(rank: int, signum: int, farewell: Callable[[], str]) -> int:
    name = signal.Signals(signum).name
    cause = ", most often for lack of memory (see the kernel's log)" if signum == signal.SIGKILL else ""
    # The process cannot report it.
    write_below(f"process {rank} was ended by {name}{cause}; {farewell()}\n")
    return 1


def _shared_environment(num_processes: int, store: Path) -> Mapping[str, str]:
    """Environment variables for all processes. They keep what the user has set, except for the network."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = _loopback()
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // num_processes))),
        # Torch's C++ code would print warnings from every process in the middle of the progress bar.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        # Processes of one machine need no other network. NCCL takes a name without "=" as a prefix.
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": f"={loopback}",
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        PROCESSES: str(num_processes),
        STORE: str(store),
        FAILED: str(store.with_name(_FAILED)),
        LAUNCHER: str(os.getpid()),
    }


def _loopback() -> str:
    """The name of the network interface that no other machine can reach: ``lo`` on Linux, ``lo0`` on macOS and BSD."""
    names = [name for _, name in socket.if_nameindex()]
    for name in ("lo", "lo0"):
        if name in names:
            return name
    raise MdpoError(
        f"--processes needs a loopback interface (lo or lo0), and this machine has {', '.join(names) or 'none'}; "
        "start the processes with torchrun, see docs/guides/scale.md"
    )
