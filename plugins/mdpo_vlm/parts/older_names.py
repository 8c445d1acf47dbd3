"""Tensors of adapters that other versions of transformers named: renamed where peft does it, or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from peft import PeftModel
from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers
from torch import Tensor

from mdpo_vlm.files.folder import unfit
from mdpo_vlm.files.stored import Stored

Shapes = Mapping[str, tuple[int, ...]]

_PREFIX, _LORA = "base_model.model.", ".lora_"


def translated(model: PeftModel, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of an adapter's file under the names that they have in ``model``, as peft reads them."""
    config = model.peft_config[model.active_adapter]
    named: dict[str, Tensor] = convert_peft_adapter_state_dict_for_transformers(model, config, dict(tensors))
    return named


def shapes_by_name(model: PeftModel, stored: Mapping[str, Stored], known: Collection[str]) -> Shapes:
    """The shapes in an adapter's file by the names ``known`` in ``model``, or by those in the file if these differ."""
    own = {name: each.shape for name, each in stored.items()}
    if all(name in known for name in own):
        return own
    tensors = {name: torch.empty(shape, device="meta") for name, shape in own.items()}
    named = {name: tuple(tensor.shape) for name, tensor in translated(model, tensors).items()}
    return named if all(name in known for name in named) else own


def require_names(folder: Path, missing: Shapes, unexpected: Shapes) -> None:
    """Raise `DataError` if the tensors of an adapter's file differ from those of its model in their names alone."""
    ours, theirs = ({_as_named_anywhere(*each): each[0] for each in shapes.items()} for shapes in (missing, unexpected))
    # Every version of peft writes the prefix.
    if not ours or ours.keys() != theirs.keys() or not all(name.startswith(_PREFIX) for name in unexpected):
        return
    first = next(iter(theirs))
    found, known = (_layer(names[first]) for names in (theirs, ours))
    raise unfit(
        folder,
        f"names layers as another version of transformers does, {found} for {known}, and peft does not translate this; "
        "merge it into its model with that version, and use the sum as model.path",
    )


def _as_named_anywhere(name: str, shape: tuple[int, ...]) -> tuple[object, ...]:
    """What versions do not change: the number of the layer, its last word, what of the adapter it is, and its shape."""
    layer, _, kind = name.partition(_LORA)
    numbers = tuple(word for word in layer.split(".") if word.isdigit())
    return numbers, layer.rpartition(".")[2], kind, shape


def _layer(name: str) -> str:
    return name.removeprefix(_PREFIX).partition(_LORA)[0]
