"""Convert the weights of an original checkpoint to the names in the files of a LLaVA of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from mdpo_vlm.files.damage import require_whole
from mdpo_vlm.files.opened import opened
from mdpo_vlm.files.stored import WEIGHT_TYPES, Stored, require_weight_types, stored_tensors
from mdpo_vlm.originals.checkpoint_layout import Original, files_of_weights
from mdpo_vlm.originals.tensors import write_shards
from mdpo_vlm.originals.tower import Tower

Names = Sequence[tuple[str, str]]
_TOWER_INSIDE = "model.vision_tower.vision_tower."
# Prefixes of names in the checkpoint and in files of transformers; the first match counts.
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
# Computed buffers, and the weights of a tower outside its vision model.
_LEFT_OUT = re.compile(
    r"rotary_emb\.inv_freq$|\.position_ids$|vision_model\.head\.|^text_model\.|^logit_(scale|bias)$|^\w+_projection\.weight$"
)


class Sources:
    """The tensors of a checkpoint; they are converted together with the tensors of its vision tower."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self._stored = stored_tensors(original.weights()).values()

    @property
    def hold_tower(self) -> bool:
        """True if the checkpoint contains the weights of a vision tower."""
        return any(stored.name.startswith(_TOWER_INSIDE) for stored in self._stored)

    def write(self, tower: Tower, config: LlavaConfig, num_words: int, folder: Path) -> None:
        """Write the weights into ``folder``. Raises `DataError` before writing if tensors do not fit the model.

        Keeps the dtype of each tensor; sets ``config.dtype`` to the dtype of the language model.
        """
        shapes = _shapes(config)
        in_checkpoint = {name: (num_words, *shapes[name][1:]) for name in _VOCABULARY}
        stored = dict(self._named(tower))
        _require_all(self._original.folder, shapes | in_checkpoint, stored, tower)
        rows = config.get_text_config().vocab_size
        require_weight_types({each.name: each for each in stored.values()})
        config.dtype = WEIGHT_TYPES[stored[_VOCABULARY[0]].dtype]
        write_shards(_grown(_tensors(stored), rows), folder)

    def _named(self, tower: Tower) -> Iterator[tuple[str, Stored]]:
        """The tensors under their names in transformers; a tensor that no prefix matches keeps its name."""
        for stored in self._stored:
            # The recipe's tower replaces the one inside the checkpoint.
            if tower.folder is None or not stored.name.startswith(_TOWER_INSIDE):
                yield from _renamed(stored, _NAMES, tower)
        in_tower = stored_tensors(files_of_weights(tower.folder)) if tower.folder is not None else {}
        for stored in in_tower.values():
            yield from _renamed(stored, _TOWER_NAMES, tower)


def _renamed(stored: Stored, names: Names, tower: Tower) -> Iterator[tuple[str, Stored]]:
    """The tensor under its new name; nothing if it is not converted."""
    dropped = f"vision_model.encoder.layers.{tower.config.num_hidden_layers}."
    if not _LEFT_OUT.search(stored.name) and not (tower.drops_last and dropped in stored.name):
        yield _replaced(stored.name, names), stored


def _replaced(name: str, names: Names) -> str:
    return next((new + name.removeprefix(old) for old, new in names if name.startswith(old)), name)


def _shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights of a model, by their names in files."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    return {_replaced(name, _IN_MEMORY): tuple(value.shape) for name, value in model.named_parameters()}


def _require_all(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], by_name: Mapping[str, Stored], tower: Tower
) -> None:
    """Raise `DataError` unless the checkpoint has exactly the tensors of the model, in their ``shapes``."""
    inverse = [(new, old) for old, new in _NAMES]
    inverse_of_tower = [(new, old) for old, new in _TOWER_NAMES] if tower.folder is not None else []
    require_whole(
        folder,
        missing=[_replaced(name, [*inverse_of_tower, *inverse]) for name in shapes if name not in by_name],
        unexpected=[stored.name for name, stored in by_name.items() if name not in shapes],
        mismatched=[
            (stored.name, stored.shape, shapes[name])
            for name, stored in by_name.items()
            if name in shapes and stored.shape != shapes[name]
        ],
    )


def _tensors(by_name: Mapping[str, Stored]) -> Iterator[tuple[str, Tensor]]:
    """The tensors, file by file, in the dtype of the file."""
    for file in dict.fromkeys(stored.file for stored in by_name.values()):
        with opened(file) as tensors:
            yield from ((name, tensors[stored.name]) for name, stored in by_name.items() if stored.file == file)


def _grown(tensors: Iterator[tuple[str, Tensor]], rows: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors, with rows of zeros added where the vocabulary has fewer than ``rows``."""
    for name, tensor in tensors:
        missing = rows - len(tensor) if name in _VOCABULARY else 0
        yield name, torch.cat([tensor, tensor.new_zeros(missing, tensor.shape[1])]) if missing else tensor
