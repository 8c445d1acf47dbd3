"""What a process has sent, and what its tensors hold."""

from __future__ import annotations

import gc
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

# Of Linux's struct tcp_info: bytes that were sent, and those of them that were sent again. No headers.
_SENT, _SENT_AGAIN = 200, 208
_LENGTH = 216


def bytes_sent(store_port: int) -> tuple[int, int]:
    """Bytes that this process has put into its open TCP connections: to other ranks, and to or from the store."""
    to_ranks, to_store = 0, 0
    for connection in _connections():
        ports = {connection.getsockname()[1], connection.getpeername()[1]}
        if store_port in ports:
            to_store += _sent(connection)
        else:
            to_ranks += _sent(connection)
    return to_ranks, to_store


def _connections() -> Iterator[socket.socket]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # numbers, and no paths
        try:
            number = os.dup(int(name))
        except OSError:
            continue  # the one that lists them
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            os.close(number)
            continue
        with socket.socket(fileno=number) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and _is_connected(found):
                yield found


def _is_connected(found: socket.socket) -> bool:
    try:
        found.getpeername()
    except OSError:
        return False
    return found.type == socket.SOCK_STREAM


def _sent(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(found) < _LENGTH:
        raise OSError("this kernel does not count the bytes of a connection (Linux 4.19 does)")
    sent, again = (struct.unpack_from("Q", found, place)[0] for place in (_SENT, _SENT_AGAIN))
    return int(sent - again)


def interface_bytes() -> int:
    """Bytes that went over this network namespace's loopback, headers and all; of all its processes."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    [counted] = [line.partition(":")[2].split() for line in lines if line.strip().startswith("lo:")]
    return int(counted[8])


def tensor_bytes() -> int:
    """Bytes of all memory that tensors of this process lie in, each counted once."""
    held: dict[int, int] = {}
    for tensor in _tensors():
        # A tensor in parts is a tensor, too, and has none of its own.
        local = getattr(tensor, "_local_tensor", tensor)
        if local.device.type != "meta" and local.layout is torch.strided:
            memory = local.untyped_storage()
            held[memory.data_ptr()] = memory.nbytes()
    return sum(held.values())


def _tensors() -> Iterator[Tensor]:
    for found in gc.get_objects():
        # Not isinstance, which asks lazy modules what they are.
        if issubclass(type(found), Tensor):
            yield found
            # Python may never have seen it.
            if found.is_leaf and found.grad is not None:
                yield found.grad
