"""LoRA that starts as an adapter that was trained before, beside a frozen copy of it: the model before training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.numbers import require_numbers
from mdpo_vlm.parts.adapter_folder import CONFIG, REMEDY, TENSORS, quiet
from mdpo_vlm.parts.lora import TRAINED
from mdpo_vlm.parts.older_names import translated

START = "start"  # the name of the frozen copy


def read_continued(model: PeftModel, folder: Path) -> None:
    """Give the adapter of ``model`` the weights of the one in ``folder``. Raises `DataError`."""
    files = [folder / CONFIG, folder / TENSORS]
    with reading(folder, "its adapter cannot be loaded", files, remedy=REMEDY) as staged, quiet():
        stored: Mapping[str, Tensor] = load_file(staged / TENSORS)
        # Layers that no gradient reaches may have LoRA in the file, but have none here: nothing reads their outputs.
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        if any(name not in stored for name in wanted):
            stored = translated(model, stored)
        set_peft_model_state_dict(model, {name: stored[name] for name in wanted})
    require_numbers(folder, model)


def keep_start(model: PeftModel) -> None:
    """Keep a copy of the adapter as it is now.

    It is in buffers, which no backend trains, splits or saves, and which no export contains.
    """
    config = copy.deepcopy(model.peft_config[TRAINED])
    config.lora_dropout = 0.0
    with quiet():
        model.add_adapter(START, config)
    trained = dict(model.named_parameters())
    for name in list(trained):
        words = name.split(".")
        if START in words:
            module = model.get_submodule(".".join(words[:-1]))
            delattr(module, words[-1])
            start = trained[".".join(TRAINED if word == START else word for word in words)].detach().clone()
            module.register_buffer(words[-1], start, persistent=False)


def has_start(model: PeftModel) -> bool:
    """Whether ``model`` has a frozen copy of the adapter that it started as."""
    return START in model.peft_config


@contextmanager
def only_start(model: PeftModel) -> Iterator[None]:
    """Compute with the frozen copy, and not with the adapter that trains, inside the ``with``."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    active = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [START]  # peft's set_adapter would also change which weights train
        yield
    finally:
        for layer, name in zip(layers, active, strict=True):
            layer._active_adapter = name
