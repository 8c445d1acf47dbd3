"""Low-rank adapters through peft."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from mdpo_core import Lora, Part, PartTraining
from mdpo_vlm.families import Family
from mdpo_vlm.parts.lora_linear import LoraLinear
from mdpo_vlm.parts.targets import Chosen, choose

_NAME = "default"  # peft's, which loads what is called so without being told


def add_lora(model: PreTrainedModel, family: Family, training: Mapping[Part, PartTraining]) -> PeftModel:
    """Adapters on those parts that train by LoRA; what else trains is saved with them. Raises `RecipeError`."""
    chosen = choose(model, family, training)
    config = _config(training, chosen)
    if not getattr(model, "is_loaded_in_4bit", False):
        # Those of 4 bits are nn.Linear, too, and take peft's own.
        config._register_custom_module({nn.Linear: LoraLinear})
    with _quiet():
        adapted = get_peft_model(model, config)
    # peft has put ends of names in their place, other ones in every process, for names that have the same end.
    config.target_modules = sorted(name for names in chosen.targets.values() for name in names)
    for part, lora in _loras(training).items():
        for name in chosen.targets[part]:
            _set_dropout(model.get_submodule(name), lora.dropout)
    return adapted


def read_lora(base: PreTrainedModel, folder: Path, device: str) -> PeftModel:
    """What `save_lora` wrote, around the model that it was trained upon."""
    with _quiet():
        # Left to itself, peft reads it into an accelerator first.
        return PeftModel.from_pretrained(base, folder, torch_device=device)


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers by a name that it has deprecated; nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _loras(training: Mapping[Part, PartTraining]) -> dict[Part, Lora]:
    return {part: each.lora for part, each in training.items() if each.lora is not None}


def _config(training: Mapping[Part, PartTraining], chosen: Chosen) -> LoraConfig:
    """One adapter for all parts, so that peft loads it as any other."""
    loras = _loras(training)
    usual = loras.get("language") or next(iter(loras.values()))
    return LoraConfig(
        r=usual.rank,
        lora_alpha=usual.alpha,
        lora_dropout=usual.dropout,
        use_dora=usual.dora,
        use_rslora=usual.rslora,
        target_modules=[name for names in chosen.targets.values() for name in names],
        rank_pattern=_unusual(chosen, {part: each.rank for part, each in loras.items()}, usual.rank),
        alpha_pattern=_unusual(chosen, {part: each.alpha for part, each in loras.items()}, usual.alpha),
        modules_to_save=list(chosen.save) or None,
        task_type="CAUSAL_LM",
    )


def _unusual(chosen: Chosen, values: Mapping[Part, Any], usual: Any) -> dict[str, Any]:
    """One pattern for all modules of a part that has another number: peft tries every pattern on every module."""
    return {
        "|".join(map(re.escape, chosen.targets[part])): value
        for part, value in values.items()
        if value != usual and chosen.targets[part]
    }


def _set_dropout(layer: nn.Module, dropout: float) -> None:
    """peft's files say it once for all modules; it is of no use after training."""
    dropouts = layer.get_submodule("lora_dropout")
    assert isinstance(dropouts, nn.ModuleDict)
    dropouts[_NAME] = nn.Dropout(dropout) if dropout else nn.Identity()


def set_lora_dropout(model: nn.Module, training: bool) -> None:
    """Switch the adapters' dropout; no other module changes its mode."""
    for name, module in model.named_modules():
        if name.endswith("lora_dropout"):
            module.train(training)
        elif getattr(module, "lora_variant", None):
            # DoRA looks at the layer's own mode, which nothing else in it does.
            module.training = training


def save_lora(model: PeftModel, folder: Path) -> None:
    """Write the adapter, the same bytes every time."""
    # peft may keep the names of its targets in a set, whose order changes from process to process.
    for config in model.peft_config.values():
        config.target_modules = sorted(config.target_modules)
    # Embeddings are the base's own, also where they have an adapter: peft would add them to the file.
    model.save_pretrained(folder, save_embedding_layers=False)
    # A card with blanks to fill in, which is none of ours to publish.
    (folder / "README.md").unlink(missing_ok=True)
