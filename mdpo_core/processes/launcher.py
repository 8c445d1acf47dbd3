"""Several processes on one machine, which meet in a private folder: nobody else can speak to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mdpo_core.errors import MdpoError
from mdpo_core.processes.group import STORE
from mdpo_core.processes.heartbeat import LAUNCHER

# A step and a checkpoint may take this long after a signal, in seconds; the watch over a process ends one that hangs.
_TIME_TO_SAVE = 600.0
_LOOK = 0.05  # seconds between two looks at the processes
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# Tells the processes how many of them this launcher was asked for.
PROCESSES = "MDPO_PROCESSES"


def launch(num_processes: int, arguments: Sequence[str]) -> int:
    """Run ``mdpo run ARGUMENTS`` in ``num_processes`` processes and wait for them.

    Gives 0, the exit code of the first process that failed, or 128 + the number of the signal that stopped the run.
    Passes signals on to the processes. Each process reports its own errors; the launcher reports one that was killed.
    """
    # Only this user may enter the folder. The processes unpickle what they read from each other's sockets, and the
    # addresses of these sockets are in the store.
    with tempfile.TemporaryDirectory(prefix="mdpo-") as folder, _signals_passed_on() as children:
        children.start(num_processes, arguments, Path(folder) / "store")
        failed = children.first_failure()
        if failed is not None:
            children.send(signal.SIGTERM)
        children.wait()
    if children.stopped_by is not None:
        return 128 + children.stopped_by
    if failed is None:
        return 0
    rank, code = failed
    return code if code > 0 else _killed(rank, -code)


class _Children:
    """The processes of a run, by rank."""

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, num_processes: int, arguments: Sequence[str], store: Path) -> None:
        words = [sys.executable, "-m", "mdpo_core.cli", "run", *arguments]
        shared = {**os.environ, **_shared_environment(num_processes, store)}
        for rank in map(str, range(num_processes)):
            environment = {**shared, "RANK": rank, "LOCAL_RANK": rank}
            # A session of its own: a terminal's Ctrl-C reaches the process once, through this launcher.
            self._processes.append(subprocess.Popen(words, env=environment, start_new_session=True))
        if self.stopped_by is not None:
            self.send(self.stopped_by)  # it came while the last ones started

    def first_failure(self) -> tuple[int, int] | None:
        """Wait for it; gives rank and exit code, or None if a signal stopped the run or no process failed."""
        while self.stopped_by is None:
            codes = [process.poll() for process in self._processes]
            for rank, code in enumerate(codes):
                if code:
                    return rank, code
            if None not in codes:
                return None
            time.sleep(_LOOK)
        return None

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        self.send(number)

    def send(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)

    def wait(self) -> None:
        """Wait until all have ended; kill those that do not end within the time to save."""
        deadline = time.monotonic() + _TIME_TO_SAVE
        while any(process.poll() is None for process in self._processes):
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(_LOOK)


@contextmanager
def _signals_passed_on() -> Iterator[_Children]:
    children = _Children()
    previous = {number: signal.signal(number, children.pass_on) for number in _PASSED_ON}
    try:
        yield children
    except BaseException:
        children.send(signal.SIGKILL)
        children.wait()
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _killed(rank: int, number: int) -> int:
    name = signal.Signals(number).name
    why = ", most often for want of memory (the kernel's log says so)" if number == signal.SIGKILL else ""
    print(  # noqa: T201  # the process cannot say it any more
        f"process {rank} was ended by {name}{why}; the run can go on from its newest checkpoint, with --resume",
        file=sys.stderr,
    )
    return 1


def _shared_environment(num_processes: int, store: Path) -> Mapping[str, str]:
    """What the processes are told; what the user has set stays, except which network they use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = _loopback()
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // num_processes))),
        # Torch's C++ code would print warnings from every process in the middle of the progress bar.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        # Processes of one machine never need another network. NCCL takes a name without "=" for a prefix.
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": f"={loopback}",
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        PROCESSES: str(num_processes),
        STORE: str(store),
        LAUNCHER: str(os.getpid()),
    }


def _loopback() -> str:
    """The name of the network interface that no other machine can reach."""
    names = [name for _, name in socket.if_nameindex()]
    # Linux, and macOS and BSD.
    found = [name for name in ("lo", "lo0") if name in names]
    if not found:
        raise MdpoError(
            f"--processes needs a loopback interface (lo or lo0), and this machine has {', '.join(names) or 'none'}; "
            "start the processes with torchrun, see docs/guides/scale.md"
        )
    return found[0]
