"""Add, read and save low-rank adapters with peft."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from peft.import_utils import is_bnb_4bit_available
from peft.tuners.lora import Linear as PeftLinear
from torch import nn
from transformers import PreTrainedModel

from mdpo_core import Lora, Part, PartTraining
from mdpo_vlm.families import Family
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.numbers import require_numbers
from mdpo_vlm.parts.adapter_folder import CONFIG, REMEDY, TENSORS, adapter_config, quiet
from mdpo_vlm.parts.embeddings import has_tied_update, untie
from mdpo_vlm.parts.four_bit_sketch import FourBitLinear
from mdpo_vlm.parts.lora_linear import InPlaceAdapter, LoraLinear, over_quantized
from mdpo_vlm.parts.lora_targets import Chosen, choose

_LETTERS = 80  # of the names in a warning
TRAINED = "default"  # the name of the adapter; peft loads this one by default


def add_lora(model: PreTrainedModel, family: Family, training: Mapping[Part, PartTraining]) -> PeftModel:
    """Add adapters to the parts that train by LoRA. Raises `RecipeError`.

    Modules that train in full are saved with the adapters.
    """
    chosen = choose(model, family, training)
    config = _config(training, chosen)
    config._register_custom_module(_layers_with_adapters())
    with quiet():
        adapted = get_peft_model(model, config)
    # peft has replaced the names by shared suffixes, which differ between processes.
    config.target_modules = sorted(name for names in chosen.targets.values() for name in names)
    config.target_parameters = list(chosen.experts) or None
    for part, lora in _loras(training).items():
        for name in chosen.targets[part]:
            _set_dropout(model.get_submodule(name), lora.dropout)
    return adapted


def _layers_with_adapters() -> dict[type[nn.Module], type[InPlaceAdapter]]:
    """The layer with an adapter for each kind of linear layer. peft takes the first that fits."""
    layers: dict[type[nn.Module], type[InPlaceAdapter]] = {FourBitLinear: over_quantized(PeftLinear)}
    if is_bnb_4bit_available():
        from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

        layers[import_module("bitsandbytes.nn").Linear4bit] = over_quantized(LoraLinear4bit)
    # Last, because the others are of this kind, too.
    return {**layers, nn.Linear: LoraLinear}


def read_lora(base: PreTrainedModel, folder: Path, device: str) -> PeftModel:
    """Put the adapter that `save_lora` wrote onto the model that it was trained with. Raises `DataError`."""
    files = [folder / CONFIG, folder / TENSORS]
    config = adapter_config(folder)
    with reading(folder, "its adapter cannot be loaded", files, remedy=REMEDY) as staged, quiet():
        # Left to itself, peft reads it into an accelerator first.
        adapted = PeftModel.from_pretrained(base, staged, config=config, torch_device=device)
    require_numbers(folder, adapted)
    return adapted


def _loras(training: Mapping[Part, PartTraining]) -> dict[Part, Lora]:
    return {part: each.lora for part, each in training.items() if each.lora is not None}


def _config(training: Mapping[Part, PartTraining], chosen: Chosen) -> LoraConfig:
    """The options of one adapter for all parts; peft loads it like any other adapter."""
    loras = _loras(training)
    default = loras.get("language") or next(iter(loras.values()))
    return LoraConfig(
        r=default.rank,
        lora_alpha=default.alpha,
        # Experts take none. The layers get their own below.
        lora_dropout=0.0 if chosen.experts else default.dropout,
        use_dora=default.dora,
        use_rslora=default.rslora,
        target_modules=[name for names in chosen.targets.values() for name in names],
        target_parameters=list(chosen.experts) or None,
        rank_pattern=_exceptions(chosen, {part: each.rank for part, each in loras.items()}, default.rank),
        alpha_pattern=_exceptions(chosen, {part: each.alpha for part, each in loras.items()}, default.alpha),
        modules_to_save=list(chosen.save) or None,
        task_type="CAUSAL_LM",
    )


def _exceptions(chosen: Chosen, values: Mapping[Part, Any], default: Any) -> dict[str, Any]:
    """The values that differ from ``default``, by a pattern for all modules of a part.

    One pattern for each part is fast: peft tries every pattern on every module.
    """
    return {
        "|".join(map(re.escape, chosen.targets[part])): value
        for part, value in values.items()
        if value != default and chosen.targets[part]
    }


def _set_dropout(layer: nn.Module, dropout: float) -> None:
    """Set the dropout of one adapter. The files of peft have one value for all; it has no effect after training."""
    dropouts = layer.get_submodule("lora_dropout")
    assert isinstance(dropouts, nn.ModuleDict)
    dropouts[TRAINED] = nn.Dropout(dropout) if dropout else nn.Identity()


def set_lora_dropout(model: nn.Module, training: bool) -> None:
    """Turn the adapters' dropout on or off; no other module changes its mode."""
    for name, module in model.named_modules():
        if name.endswith("lora_dropout"):
            module.train(training)
        elif getattr(module, "lora_variant", None):
            # DoRA reads the mode of the layer itself; nothing else in the layer does.
            module.training = training


def save_lora(model: PeftModel, folder: Path) -> None:
    """Write the adapter to ``folder``. The same weights always give the same bytes."""
    # peft may keep the target names in a set, whose order differs between processes.
    for config in model.peft_config.values():
        config.target_modules = sorted(config.target_modules)
        config.target_parameters = sorted(config.target_parameters or ()) or None
        if config.modules_to_save:
            names = ", ".join(config.modules_to_save)
            logging.getLogger(__name__).warning(
                "the adapter contains whole modules (%s), which vLLM does not load; for vLLM, write a merged model: "
                "mdpo export RUN --merge --out DIR",
                names if len(names) < _LETTERS else f"{names[:_LETTERS]} ...",
            )
    # Embeddings belong to the base model, even if they have an adapter: peft would add them to the file.
    model.save_pretrained(folder, selected_adapters=[TRAINED], save_embedding_layers=False)
    # peft writes a model card with empty fields.
    (folder / "README.md").unlink(missing_ok=True)


def merged_lora(model: nn.Module) -> PreTrainedModel:
    """The plain model with the adapter's weights added to its own. Raises ValueError if there is no adapter."""
    if not isinstance(model, PeftModel):
        raise ValueError("there is no adapter to merge: the model was loaded without LoRA")
    if has_tied_update(model):
        untie(model)
    return model.merge_and_unload(adapter_names=[TRAINED])
