"""Reads the file of an offline run of Weights & Biases: LevelDB's log format, with a record of protobuf each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _FILE_HEADER, _HEADER = 32768, 7, 7
_WHOLE, _LAST = 1, 4


def records_of(file: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file, in order."""
    from wandb.proto import wandb_internal_pb2

    data = file.read_bytes()
    assert data.startswith(b":W&B")
    place, parts = _FILE_HEADER, b""
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        place += _HEADER
        parts += data[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
