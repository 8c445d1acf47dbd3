"""Folders with an adapter as peft saves it: read only if each tensor has its place, and each place its tensor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import PreTrainedModel

from mdpo_vlm.files.damage import reading, require_whole
from mdpo_vlm.files.folder import from_folder, read_json, require_file, unfit
from mdpo_vlm.files.stored import require_weight_types, stored_tensors
from mdpo_vlm.parts.adapter_options import adapter_options
from mdpo_vlm.parts.embeddings import require_vocabulary
from mdpo_vlm.parts.older_names import require_names, shapes_by_name

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_SECONDS = 30.0  # an adapter for all layers of a large model takes seconds
_FAILURE = "peft cannot use it"
REMEDY = "export the adapter again, or restore its files"


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings that users cannot fix.

    peft calls transformers by a deprecated name, and tells of tied weights that it cannot merge, though mdpo can.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def is_adapter(folder: Path) -> bool:
    """True if the folder contains an adapter."""
    return (folder / CONFIG).exists()


def adapter_config(folder: Path) -> LoraConfig:
    """The options of the adapter in a folder. Raises `DataError` for any adapter but LoRA, and for odd options."""
    options = adapter_options(folder / CONFIG)
    with reading(folder / CONFIG, _FAILURE, [], remedy=REMEDY):
        return options.config()


def require_adapter(folder: Path, base: PreTrainedModel) -> None:
    """Raise `DataError` unless the adapter has exactly the tensors that its options give ``base``.

    ``base``: the model on torch's meta device, which this changes.
    """
    require_file(folder / TENSORS)
    stored = stored_tensors([folder / TENSORS])
    require_weight_types(stored)
    config = adapter_config(folder)
    with reading(folder / CONFIG, _FAILURE, [], _SECONDS, REMEDY), quiet():
        # A sound adapter is put on in a moment; a pattern in it may compute without an end.
        adapted = get_peft_model(base, config)
        wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        # peft may also save the model's own embedding and head, and then reads them.
        known = wanted | get_peft_model_state_dict(adapted, save_embedding_layers=True)
        found = shapes_by_name(adapted, stored, known)
    _require_saved(folder / CONFIG, config, base)
    missing = {name: tuple(tensor.shape) for name, tensor in wanted.items() if name not in found}
    unexpected = {name: shape for name, shape in found.items() if name not in known}
    shapes = {name: tuple(tensor.shape) for name, tensor in known.items() if name in found}
    mismatched = [(name, found[name], shape) for name, shape in shapes.items() if found[name] != shape]
    require_names(folder, missing, unexpected)
    require_vocabulary(folder, base, mismatched)
    require_whole(folder, missing, unexpected, mismatched, REMEDY)


def _require_saved(file: Path, config: LoraConfig, base: PreTrainedModel) -> None:
    """Raise `DataError` for a module that the adapter should contain whole, but the model does not have."""
    names = [name for name, _ in base.named_modules()]
    for saved in config.modules_to_save or ():
        if not any(f".{name}.".find(f".{saved}.") >= 0 for name in names):
            raise unfit(file, f"modules_to_save names {saved!r}, which the model does not have; {REMEDY}")


def require_base(folder: Path, model: Path, name: str) -> None:
    """Raise `DataError` if the adapter in ``folder`` says that it belongs to another model.

    ``model`` is the folder of the model that it is put on, ``name`` what the recipe calls it.
    """
    named = named_base(folder)
    if named is None or named in (name, str(model)) or _is_same(Path(named), model):
        return
    # A model that was moved keeps the last part of its name.
    if Path(named).name in (Path(name).name, model.resolve().name):
        return
    raise unfit(
        folder / CONFIG,
        f"base_model_name_or_path is {named[:200]!r}, but the recipe's model is '{name}'; an adapter fits one model "
        "only. Set model.path to its model, or correct the name if it is the same model",
    )


def named_base(folder: Path) -> str | None:
    """Where the adapter in ``folder`` says that its model is: a path, or a hub name. Raises `DataError`."""
    named = adapter_options(folder / CONFIG).base_model_name_or_path
    return named and from_folder(named, folder)


def set_named_base(folder: Path, name: str) -> None:
    """Let the adapter in ``folder`` say that its model is at ``name``."""
    options = {**read_json(folder / CONFIG), "base_model_name_or_path": name}
    (folder / CONFIG).write_text(json.dumps(options, indent=2, sort_keys=True))


def _is_same(named: Path, model: Path) -> bool:
    try:
        return named.is_dir() and named.samefile(model)
    except OSError:  # a name that cannot be a path
        return False
