"""The weights of an original checkpoint, by the names that a LLaVA of transformers has in its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from mdpo_vlm.files.damage import require_whole
from mdpo_vlm.originals.checkpoint_layout import Original, files_of_weights
from mdpo_vlm.originals.tensors import opened, write_shards
from mdpo_vlm.originals.tower import Tower

Names = Sequence[tuple[str, str]]
_TOWER_INSIDE = "model.vision_tower.vision_tower."
# Beginnings of names, the first that fits: in the checkpoint, and in files of transformers.
_NAMES: Names = (
    (f"{_TOWER_INSIDE}vision_model.", "vision_tower.vision_model."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
_TOWER_NAMES: Names = (("vision_model.", "vision_tower.vision_model."),)
_IN_MEMORY: Names = (
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
_VOCABULARY = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
# Buffers that are computed, and what towers have besides the vision model.
_LEFT_BEHIND = re.compile(
    r"rotary_emb\.inv_freq$|\.position_ids$|vision_model\.head\.|^text_model\.|^logit_(scale|bias)$|^\w+_projection\.weight$"
)


@dataclass(frozen=True)
class _Place:
    """Where a tensor is, under the name that it has there."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Sources:
    """The files of a checkpoint and, once it is known, of its vision tower."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self._places = list(_places(original.weights()))

    @property
    def hold_tower(self) -> bool:
        return any(place.name.startswith(_TOWER_INSIDE) for place in self._places)

    def write(self, tower: Tower, config: LlavaConfig, num_words: int, folder: Path) -> None:
        """Raises `DataError` for tensors that are missing, left over or of another shape; then nothing is written.

        Types stay as they are; ``config`` is told that of the language model.
        """
        wanted = _shapes(config)
        grown = {name: (num_words, *wanted[name][1:]) for name in _VOCABULARY}
        found = dict(self._named(tower))
        _require_all(self._original.folder, wanted | grown, found, tower)
        rows = config.get_text_config().vocab_size
        config.dtype = found[_VOCABULARY[0]].dtype
        write_shards(_grown(_tensors(found), rows), folder)

    def _named(self, tower: Tower) -> Iterator[tuple[str, _Place]]:
        """By the names of transformers; what fits nowhere keeps its own."""
        for place in self._places:
            # One that another tower takes the place of.
            if tower.folder is None or not place.name.startswith(_TOWER_INSIDE):
                yield from _renamed(place, _NAMES, tower)
        for place in _places(files_of_weights(tower.folder)) if tower.folder is not None else ():
            yield from _renamed(place, _TOWER_NAMES, tower)


def _renamed(place: _Place, names: Names, tower: Tower) -> Iterator[tuple[str, _Place]]:
    dropped = f"vision_model.encoder.layers.{tower.config.num_hidden_layers}."
    if not _LEFT_BEHIND.search(place.name) and not (tower.drops_last and dropped in place.name):
        yield _replaced(place.name, names), place


def _replaced(name: str, names: Names) -> str:
    return next((new + name.removeprefix(old) for old, new in names if name.startswith(old)), name)


def _places(files: Sequence[Path]) -> Iterator[_Place]:
    for file in files:
        with opened(file) as tensors:
            yield from [_Place(file, name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()]


def _shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Of a whole model, by the names in files."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    return {_replaced(name, _IN_MEMORY): tuple(value.shape) for name, value in model.named_parameters()}


def _require_all(
    folder: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, _Place], tower: Tower
) -> None:
    inverse = [(new, old) for old, new in _NAMES]
    of_tower = [(new, old) for old, new in _TOWER_NAMES] if tower.folder is not None else []
    require_whole(
        folder,
        missing=[_replaced(name, [*of_tower, *inverse]) for name in wanted if name not in found],
        unexpected=[place.name for name, place in found.items() if name not in wanted],
        mismatched=[
            (place.name, place.shape, wanted[name])
            for name, place in found.items()
            if name in wanted and place.shape != wanted[name]
        ],
    )


def _tensors(found: Mapping[str, _Place]) -> Iterator[tuple[str, Tensor]]:
    """File by file, in the type that they have there."""
    for file in dict.fromkeys(place.file for place in found.values()):
        with opened(file) as tensors:
            yield from ((name, tensors[place.name]) for name, place in found.items() if place.file == file)


def _grown(tensors: Iterator[tuple[str, Tensor]], rows: int) -> Iterator[tuple[str, Tensor]]:
    """Rows of zeros behind those of the vocabulary, as many as are missing."""
    for name, tensor in tensors:
        missing = rows - len(tensor) if name in _VOCABULARY else 0
        yield name, torch.cat([tensor, tensor.new_zeros(missing, tensor.shape[1])]) if missing else tensor
