"""Reads and writes the tensors of checkpoints, one at a time."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mdpo_vlm.files.folder import unfit

_SHARD = 2 * 10**9


@contextmanager
def opened(file: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a file by name, memory-mapped: each is read when it is used. Raises `DataError`."""
    if file.suffix == ".bin":
        yield _unpickled(file)
        return
    try:
        tensors = safe_open(file, framework="pt")
    except SafetensorError as error:
        raise unfit(file, f"cannot be read: {error}") from error
    with tensors:
        yield _SafeTensors(tensors)


def _unpickled(file: Path) -> Mapping[str, Tensor]:
    try:
        tensors: Mapping[str, Tensor] = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        # Only the first line: the rest of torch's message says how to load files that may run code.
        reason = str(error).strip().splitlines()[0]
        raise unfit(file, f"cannot be read as tensors alone: {reason}") from error
    return tensors


class _SafeTensors(Mapping[str, Tensor]):
    """A mapping that reads each tensor of a safetensors file when it is indexed."""

    def __init__(self, tensors: Any) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors.keys())

    def __len__(self) -> int:
        return len(list(self._tensors.keys()))


def write_shards(tensors: Iterator[tuple[str, Tensor]], folder: Path, limit: int = _SHARD) -> None:
    """Write tensors to safetensors files of at most ``limit`` bytes, and an index if there are several files.

    A file is written before the tensors of the next one are read.
    """
    shards = [
        _write_shard(shard, folder / f"unnumbered-{index}.safetensors")
        for index, shard in enumerate(_groups(tensors, limit))
    ]
    if len(shards) == 1:
        shards[0][0].rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    total = 0
    for number, (file, sizes) in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        file.rename(folder / name)
        weight_map |= dict.fromkeys(sizes, name)
        total += sum(sizes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _write_shard(shard: Mapping[str, Tensor], file: Path) -> tuple[Path, Mapping[str, int]]:
    save_file(dict(shard), file, metadata={"format": "pt"})
    return file, {name: tensor.nbytes for name, tensor in shard.items()}


def _groups(tensors: Iterator[tuple[str, Tensor]], limit: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if shard and sum(each.nbytes for each in shard.values()) + tensor.nbytes > limit:
            yield shard
            shard = {}
        shard[name] = tensor
    yield shard
