"""Checks that the processes of a group are those of this run, before they believe what they receive.

Gloo accepts whoever connects to its port first, and processes unpickle what they receive, which can run code. So each
process sends every other one a token that only a process that can read the store is able to compute.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.processes.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, but missing in torch's list of names

# The processes have just met, so each of them answers at once.
_ANSWER_TIME = timedelta(minutes=1)


def require_own_processes(store: Store, world: World) -> None:
    """Raise `MdpoError` unless each connection of the process group leads to a process that can read the store."""
    import torch
    from torch import distributed

    secret = store.compare_set("mdpo/secret", "", secrets.token_hex(32))
    ranks = range(world.size)
    sent = torch.stack([_token(secret, world.rank, rank) for rank in ranks])
    expected = torch.stack([_token(secret, rank, world.rank) for rank in ranks])
    received = torch.zeros_like(sent)
    try:
        distributed.all_to_all_single(received, sent, async_op=True).wait(_ANSWER_TIME)
    except RuntimeError as error:
        raise _foreign_process(world, f" ({first_line(error)})") from error
    if not torch.equal(received, expected):
        raise _foreign_process(world)


def _token(secret: bytes, sender: int, receiver: int) -> Tensor:
    """What ``sender`` has to send to ``receiver``: ``(32,)`` uint8, different for each pair so that no echo passes."""
    import torch

    return torch.tensor(list(hmac.digest(secret, b"%d to %d" % (sender, receiver), "sha256")), dtype=torch.uint8)


def _foreign_process(world: World, detail: str = "") -> MdpoError:
    return MdpoError(
        f"process {world.rank} got a wrong answer, or none, from another process of the run; another program may have "
        f"connected to its port. Start the run again; if it fails again, find out which program that is{detail}"
    )
