"""The tensors in files of weights, by name: their shapes and types, read without their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import WEIGHTS, read_json, unfit, weight_files
from mdpo_vlm.files.opened import opened

# The types that weights have, by their names in safetensors files.
WEIGHT_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Computed numbers that old versions of transformers stored beside the weights.
_COMPUTED = re.compile(r"(position_ids|num_batches_tracked|position_index|relative_position_index)$")


@dataclass(frozen=True)
class Stored:
    """One tensor in a file: its name there, its shape, and its type as safetensors writes it (``BF16``)."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def stored_tensors(files: Sequence[Path]) -> dict[str, Stored]:
    """The tensors of all ``files`` by name. Raises `DataError` if a file is damaged, or two contain the same tensor."""
    found: dict[str, Stored] = {}
    for file in files:
        for name, stored in _tensors_of(file).items():
            if name in found:
                raise unfit(file, f"contains {name}, which {found[name].file.name} contains, too; download them again")
            found[name] = stored
    return found


def _tensors_of(file: Path) -> dict[str, Stored]:
    if file.suffix == ".bin":
        with opened(file) as tensors:
            return {name: _unpickled(file, name, tensor) for name, tensor in tensors.items()}
    with (
        reading(file, "its weights cannot be read", [file]) as staged,
        safe_open(staged / file.name, framework="pt") as tensors,
    ):
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
        return {name: Stored(file, name, tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def _unpickled(file: Path, name: str, tensor: object) -> Stored:
    if not isinstance(tensor, Tensor):
        raise unfit(file, f"{name} is a {type(tensor).__name__}, not a tensor; download the weights again")
    dtype = next((name for name, known in WEIGHT_TYPES.items() if known == tensor.dtype), str(tensor.dtype))
    return Stored(file, name, tuple(tensor.shape), dtype)


def require_stored(folder: Path) -> None:
    """Raise `DataError` if the weights of a model are not whole files of weights, or the index does not fit them."""
    files = weight_files(folder)
    stored = stored_tensors(files)
    require_weight_types(stored)
    index = folder / WEIGHTS[1]
    if index.is_file():
        _require_indexed(index, stored)


def require_weight_types(stored: Mapping[str, Stored]) -> None:
    """Raise `DataError` for a tensor whose numbers are no weights: loading would convert them in silence."""
    for name, tensor in stored.items():
        if tensor.dtype not in WEIGHT_TYPES and not _COMPUTED.search(name):
            known = ", ".join(WEIGHT_TYPES)
            raise unfit(tensor.file, f"{name} has the type {tensor.dtype}; weights have one of {known}")


def _require_indexed(index: Path, stored: Mapping[str, Stored]) -> None:
    """Raise `DataError` if an index and its shards differ in what tensor is where."""
    listed = read_json(index)["weight_map"]
    for name in sorted(listed.keys() | stored.keys()):
        file = stored[name].file.name if name in stored else None
        if listed.get(name) != file:
            places = f"it is in {file}" if file else "none of its files contains it"
            said = f"names {listed[name]} for it" if name in listed else "does not list it"
            raise unfit(index, f"{name}: {places}, but the index {said}; download the model again")
