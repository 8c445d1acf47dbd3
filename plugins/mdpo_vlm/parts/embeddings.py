"""Embeddings and heads in the files of adapters: peft writes the model's own there, too, if LoRA is on one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import unfit, weight_files
from mdpo_vlm.files.stored import Stored, stored_tensors

if TYPE_CHECKING:
    from peft import PeftModel

_LORA = ".lora_"


def require_vocabulary(
    folder: Path, base: PreTrainedModel, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]
) -> None:
    """Raise `DataError` if tensors do not fit because tokens were added in training.

    ``mismatched``: name, shape in the file, shape in the model ``base``.
    """
    tokens = base.get_input_embeddings().weight.shape[0]
    for _, in_file, in_model in mismatched:
        differ = [(theirs, ours) for theirs, ours in zip(in_file, in_model, strict=False) if theirs != ours]
        if len(in_file) == len(in_model) and len(differ) == 1 and differ[0][1] == tokens:
            found = f"its embeddings have {differ[0][0]} tokens, but those of its model have {tokens}"
            remedy = "resize the model's embeddings in transformers, save it, and say where it is: model.base"
            raise unfit(folder, f"{found}: tokens were added or removed in training; {remedy}")


def require_own_embeddings(adapter: Path, base: Path) -> None:
    """Raise `DataError` if the file of an adapter has an embedding or a head that is not one of the model ``base``."""
    stored = stored_tensors([adapter])
    copies = [each for name, each in stored.items() if _LORA not in name]
    if not copies:
        return
    of_model = stored_tensors(weight_files(base)).values()
    for copy in copies:
        value = _value(copy)
        if not any(_is_copy(value, _value(each)) for each in of_model if each.shape == copy.shape):
            name = copy.name.removeprefix("base_model.model.")
            found = f"{name} is not that of its model {base}, so it was trained, and only LoRA of layers is trained on"
            raise unfit(adapter, f"{found}; merge the adapter into its model: continue_lora: false")


def _value(stored: Stored) -> Tensor:
    with reading(stored.file, "its weights cannot be read", []), safe_open(stored.file, framework="pt") as tensors:
        value: Tensor = tensors.get_tensor(stored.name)
        return value


def _is_copy(found: Tensor, own: Tensor) -> bool:
    """Whether one is the other, perhaps rounded to another type."""
    narrow = found.dtype if found.itemsize <= own.itemsize else own.dtype
    return torch.equal(found.to(narrow), own.to(narrow))


def has_tied_update(model: PeftModel) -> bool:
    """Whether the adapter changes the embedding or the head, and both are one tensor in its model."""
    embedding, head = _both(model)
    if head is None or _weight(embedding) is not _weight(head):
        return False
    return _inner(embedding) is not embedding or _inner(head) is not head


def untie(model: PeftModel) -> None:
    """Give the head a tensor of its own, so that merging an adapter of one of the two leaves the other as it is."""
    base, (_, head) = model.get_base_model(), _both(model)
    assert head is not None
    inner = _inner(head)
    inner.weight = nn.Parameter(_weight(head).detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False


def _both(model: PeftModel) -> tuple[nn.Module, nn.Module | None]:
    base = model.get_base_model()
    return base.get_input_embeddings(), base.get_output_embeddings()


def _inner(module: nn.Module) -> nn.Module:
    """The module of the model itself, which peft may have wrapped."""
    wrapped = getattr(module, "base_layer", None) or getattr(module, "original_module", None)
    return wrapped if isinstance(wrapped, nn.Module) else module


def _weight(module: nn.Module) -> Tensor:
    weight = _inner(module).weight
    assert isinstance(weight, Tensor)
    return weight
