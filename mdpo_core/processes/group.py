"""The process group of a run: how its processes meet, speak with one voice, and part."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from mdpo_core.errors import MdpoError
from mdpo_core.processes.world import World, current_world

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, and not in its list of names

# Ranks may wait for one that reads data or exports a model; whether it still lives is the watch's business.
_PATIENCE = timedelta(days=7)
_MEETING = timedelta(minutes=10)
# Processes that have met answer at once.
_ANSWER = timedelta(minutes=1)

_LAST_WORDS = 2.0  # seconds

# Tells processes of one machine the file through which they meet; without it, torchrun's variables say where.
STORE = "MDPO_STORE"
_INTRUDER = (
    "process {} does not hear the other processes of the run: another program of this machine may have connected to "
    "its port; start the run again, or ask who else works on this machine"
)

_store: Store | None = None


class LostProcess(MdpoError):
    """Another process of the run is gone; whoever knows why says so."""


@contextmanager
def process_group() -> Iterator[World]:
    """Meet the other processes of this run, for the time of a ``with``; one process alone meets nobody.

    A process group that is there already is used as it is.
    """
    world = current_world()
    if world.size == 1:
        yield world
        return
    from torch import distributed

    if distributed.is_initialized():
        yield world
        return
    from mdpo_core.processes.heartbeat import watched

    with watched(_begin(world), world):
        try:
            yield world
        except RuntimeError as error:
            if not _is_lost_connection(error):
                raise
            raise LostProcess(f"lost the connection to another process of the run: {_first_line(error)}") from error
    # One of them may hold the store, which the others are done with only now.
    world.gather(None)
    distributed.destroy_process_group()


def _begin(world: World) -> Store:
    global _store
    import torch
    from torch import distributed

    _store = _meet(world)
    on_cuda = torch.cuda.is_available()
    if on_cuda and world.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(world.local_rank)
    # What processes tell one another goes over the CPU, and waits for no kernel.
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    distributed.init_process_group(backend, store=_store, rank=world.rank, world_size=world.size, timeout=_PATIENCE)
    if STORE in os.environ:
        _require_own_processes(_store, world)
    return _store


def _meet(world: World) -> Store:
    from torch import distributed

    if STORE in os.environ:
        # Without a number of processes torch leaves the file to the launcher, which removes it.
        file: Store = distributed.FileStore(os.environ[STORE])  # type: ignore[attr-defined]  # as above
        file.set_timeout(_MEETING)
        return file
    meeting = distributed.rendezvous("env://", timeout=_MEETING)  # type: ignore[attr-defined]  # as above
    store: Store
    try:
        store, _, _ = next(meeting)
    except (RuntimeError, ValueError) as error:
        raise MdpoError(
            f"process {world.rank} of {world.size} did not find the others at {os.environ.get('MASTER_ADDR')}, port "
            f"{os.environ.get('MASTER_PORT')}: {_first_line(error)}"
        ) from error
    return store


def _require_own_processes(store: Store, world: World) -> None:
    """Raise unless each connection of the process group leads to a process that can read the store.

    Gloo takes whoever connects first for the process it waits for, and processes unpickle what they hear.
    """
    import torch
    from torch import distributed

    secret = store.compare_set("mdpo/secret", "", secrets.token_hex(32))
    ranks = range(world.size)
    sent = torch.stack([_token(secret, world.rank, rank) for rank in ranks])
    expected = torch.stack([_token(secret, rank, world.rank) for rank in ranks])
    received = torch.zeros_like(sent)
    try:
        distributed.all_to_all_single(received, sent, async_op=True).wait(_ANSWER)
    except RuntimeError as error:
        raise MdpoError(f"{_INTRUDER.format(world.rank)} ({_first_line(error)})") from error
    if not torch.equal(received, expected):
        raise MdpoError(_INTRUDER.format(world.rank))


def _token(secret: bytes, sender: int, receiver: int) -> Tensor:
    import torch

    return torch.tensor(list(hmac.digest(secret, b"%d to %d" % (sender, receiver), "sha256")), dtype=torch.uint8)


def leave(code: int) -> NoReturn:
    """End this process with an exit code; one of several at once, without tidying the interpreter up.

    Threads of communication libraries live until the very end, and have been seen to abort processes that had done
    all their work.
    """
    if current_world().size == 1:
        sys.exit(code)
    if code and current_world().is_main:
        # It may hold the store, which the others still ask who is to speak.
        time.sleep(_LAST_WORDS)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first_to_fail() -> bool:
    """Whether this process is the one to tell why the run ends; of several, one is."""
    if _store is None:
        return True
    rank = str(current_world().rank)
    try:
        return bool(_store.compare_set("mdpo/failed", "", rank).decode() == rank)
    except RuntimeError:
        # Nobody can be asked: the store is what was lost.
        return True


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch import distributed

    words = (
        "Connection closed by peer",
        "Connection reset by peer",
        "Broken pipe",
        "Socket closed",
        "Timed out waiting",
    )
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
