"""Files of weights, opened so that each tensor is read when it is used."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mdpo_vlm.files.folder import unfit


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
