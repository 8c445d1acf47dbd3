"""The process group of a run: how its processes meet, which of them reports an error, and how they end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.processes.authentication import require_own_processes
from mdpo_core.processes.heartbeat import watched
from mdpo_core.processes.world import World, current_world

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, but missing in torch's list of names

# A process may wait long for another one that reads data or exports a model. The heartbeat notices if that one died.
_COLLECTIVE_TIMEOUT = timedelta(days=7)
_MEETING_TIMEOUT = timedelta(minutes=10)
_ANSWER_TIME = 30.0  # seconds that the store has to say who reports an error
_REPORT_TIME = 2.0  # seconds in which the other processes can still ask the store who reports an error

# The environment variable that names the file through which the processes of one machine meet (see `launcher`).
# Without it, torchrun's variables name an address and a port.
STORE = "MDPO_STORE"

_LOST_CONNECTION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Socket closed",
    "Timed out waiting",
)

_store: Store | None = None


class LostProcess(MdpoError):
    """Another process of the run has ended. The process that knows why reports it."""


@contextmanager
def process_group() -> Iterator[World]:
    """Meet the other processes of this run and stay connected inside the ``with``.

    Does nothing in a run of one process, or if torch already has a process group. Raises `MdpoError` if the processes
    do not find each other, `LostProcess` if the connection to one of them breaks.
    """
    world = current_world()
    if world.size == 1:
        yield world
        return
    from torch import distributed

    if distributed.is_initialized():
        yield world
        return
    with watched(_begin(world), world):
        try:
            yield world
        except RuntimeError as error:
            if not _is_lost_connection(error):
                raise
            raise LostProcess(f"lost the connection to another process of the run: {first_line(error)}") from error
    # One process may hold the store: it must not end before the others have finished with it.
    world.gather(None)
    distributed.destroy_process_group()


def _begin(world: World) -> Store:
    global _store
    import torch
    from torch import distributed

    _store = _shared_file() if STORE in os.environ else _shared_server(world)
    on_cuda = torch.cuda.is_available()
    if on_cuda and world.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(world.local_rank)
    # Python objects travel over the CPU, where they wait for no kernel.
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    distributed.init_process_group(
        backend, store=_store, rank=world.rank, world_size=world.size, timeout=_COLLECTIVE_TIMEOUT
    )
    if STORE in os.environ:
        require_own_processes(_store, world)
    return _store


def _shared_file() -> Store:
    """The store of processes that the launcher started."""
    from torch import distributed

    # Without a number of processes torch does not remove the file. The launcher does.
    store: Store = distributed.FileStore(os.environ[STORE])  # type: ignore[attr-defined]  # as above
    store.set_timeout(_MEETING_TIMEOUT)
    return store


def _shared_server(world: World) -> Store:
    """The store of processes that torchrun started, which one of them serves."""
    from torch import distributed

    meeting = distributed.rendezvous("env://", timeout=_MEETING_TIMEOUT)  # type: ignore[attr-defined]  # as above
    store: Store
    try:
        store, _, _ = next(meeting)
    except (RuntimeError, ValueError) as error:
        raise MdpoError(
            f"process {world.rank} of {world.size} did not find the others at {os.environ.get('MASTER_ADDR')}, port "
            f"{os.environ.get('MASTER_PORT')}: {first_line(error)}"
        ) from error
    return store


def leave(code: int) -> NoReturn:
    """End this process with an exit code; one of several processes ends without cleaning up the interpreter.

    Threads of communication libraries live until the end, and have aborted processes that had finished their work.
    """
    if _store is None:
        sys.exit(code)
    if code and current_world().is_main:
        # This process may serve the store, which the others still ask who reports the error.
        time.sleep(_REPORT_TIME)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first_to_fail() -> bool:
    """Whether this process has to report why the run ends. Exactly one of several does: the first to ask.

    If the store is lost or does not answer, each process reports.
    """
    store, rank = _store, str(current_world().rank)
    if store is None:
        return True
    reporters = [rank]

    def ask() -> None:
        with suppress(RuntimeError):
            reporters.append(store.compare_set("mdpo/failed", "", rank).decode())

    # The store's own time limit does not end this call: without it, a machine that is off keeps the process forever.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_TIME)
    return reporters[-1] == rank


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch import distributed

    return isinstance(error, distributed.DistError) or any(phrase in str(error) for phrase in _LOST_CONNECTION)
