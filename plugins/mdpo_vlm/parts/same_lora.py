"""Whether a recipe's LoRA is exactly that of an adapter, which is then trained on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from mdpo_core import PARTS, Part, PartTraining, RecipeError
from mdpo_vlm.families import Family
from mdpo_vlm.files.folder import unfit
from mdpo_vlm.parts.adapter_folder import CONFIG, adapter_config, require_adapter
from mdpo_vlm.parts.lora import TRAINED, add_lora
from mdpo_vlm.parts.modules import Modules
from mdpo_vlm.parts.names import PartNames

_MERGE = "leave model.continue_lora out, and it is merged"


class _Layer(NamedTuple):
    """The low-rank update of one layer."""

    rank: int
    alpha: float
    scaling: float
    dora: bool


def require_same_lora(
    folder: Path, sketch: Callable[[], PreTrainedModel], family: Family, training: Mapping[Part, PartTraining]
) -> None:
    """Raise `RecipeError` unless ``training`` says exactly what the adapter in ``folder`` is, and `DataError` if that
    is not LoRA alone. ``sketch`` makes the model without numbers.
    """
    config = adapter_config(folder)
    for option, what in (("modules_to_save", "whole modules"), ("target_parameters", "experts")):
        if names := getattr(config, option):
            why = f"mdpo keeps a copy of LoRA of layers as the model before training, and none of {what}"
            raise unfit(folder / CONFIG, f"{option} is {', '.join(names)}, which is not trained on: {why}; {_MERGE}")
    plain = sketch()
    theirs, ours = copy.deepcopy(plain), copy.deepcopy(plain)
    require_adapter(folder, theirs)
    add_lora(ours, family, training)
    parts, modules = PartNames(plain, family), Modules(plain, family)
    there = {name: layer for name, layer in _layers(theirs).items() if not modules.has_idle(name)}
    adapter, recipe = ({part: _of(part, layers, parts) for part in PARTS} for layers in (there, _layers(ours)))
    write = {part: _written(part, adapter[part], config, modules) for part in PARTS}
    problems = [_difference(folder, part, adapter[part], recipe[part], write) for part in PARTS]
    if any(problems):
        raise RecipeError("\n".join(filter(None, problems)))


def _layers(model: nn.Module) -> dict[str, _Layer]:
    """The adapted layers of a model by full name."""
    return {
        name: _Layer(each.r[TRAINED], each.lora_alpha[TRAINED], each.scaling[TRAINED], TRAINED in each.lora_variant)
        for name, each in model.named_modules()
        if isinstance(each, LoraLayer)
    }


def _of(part: Part, layers: Mapping[str, _Layer], parts: PartNames) -> dict[str, _Layer]:
    return {name: layer for name, layer in layers.items() if parts.part_of(f"{name}.weight") == part}


def _difference(
    folder: Path, part: Part, theirs: Mapping[str, _Layer], ours: Mapping[str, _Layer], write: Mapping[Part, str | None]
) -> str:
    """How the LoRA of a part differs from the adapter's, and what to ``write``; empty if it does not."""
    if theirs == ours:
        return ""
    option = "model.lora" if part == "language" else f"model.parts.{part}"
    name = next(name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name))
    found = f"{name} has {_said(theirs.get(name))} in the adapter {folder}, and {_said(ours.get(name))} in the recipe"
    if None in write.values():
        return f"{option}: {found}; a recipe has one rank and alpha for all layers of a part, so {_MERGE}"
    without = f"; the adapter has no LoRA in the {part} part, so"
    if not theirs and part == "language":
        # Without it, the other parts train in full if nothing else is said.
        every = ", ".join(f"{each}: {write[each]}" for each in PARTS)
        return f"{option}: {found}{without} leave {option} out, and write model.parts: {{{every}}}"
    return f"{option}: {found}{without if not theirs else ';'} write {write[part]}"


def _written(part: Part, layers: Mapping[str, _Layer], config: LoraConfig, modules: Modules) -> str | None:
    """A part's option as a recipe has it for an adapter with these ``layers``; None if no recipe can say it."""
    if not layers:
        return "{train: frozen}"
    if len(set(layers.values())) > 1:
        return None
    kind = next(iter(layers.values()))
    # YAML reads the name of a numbered module as a number.
    patterns = [f"'{each}'" if each.isdigit() else each for each in _targets(part, layers, modules)]
    switches = {"rslora": config.use_rslora, "dora": config.use_dora}
    words = [f"rank: {kind.rank}", f"alpha: {kind.alpha:g}", f"targets: [{', '.join(patterns)}]"]
    lora = f"{{{', '.join(words + [f'{key}: true' for key in switches if switches[key]])}}}"
    return lora if part == "language" else f"{{train: lora, lora: {lora}}}"


def _said(layer: _Layer | None) -> str:
    if layer is None:
        return "no LoRA"
    kind = "DoRA" if layer.dora else "LoRA"
    return f"{kind} of rank {layer.rank} and alpha {layer.alpha:g}, scaled by {layer.scaling:g}"


def _targets(part: Part, layers: Mapping[str, _Layer], modules: Modules) -> list[str]:
    """Patterns that name exactly these layers: last words of names where these say enough, else full names."""
    of_word: dict[str, list[str]] = {}
    for name in modules.of_part[part]:
        if modules.is_adaptable(name) and not modules.has_idle(name):
            of_word.setdefault(name.rpartition(".")[2], []).append(name)
    words = {name.rpartition(".")[2] for name in layers}
    whole = {word for word in words if all(name in layers for name in of_word[word])}
    return sorted(whole) + sorted(name for name in layers if name.rpartition(".")[2] not in whole)
