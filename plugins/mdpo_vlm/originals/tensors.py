"""Writes the tensors of checkpoints, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

_SHARD = 2 * 10**9


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
